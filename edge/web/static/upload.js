// Pictures of the reader's own become cases, a few at a time.
import { button, h, number, t, table, write } from "/dom.js";
import * as live from "/live.js";

const BYTES = 16e6;
const FILES = 16;

export function upload(target, done) {
  const input = h("input", { type: "file", id: "files", multiple: true, accept: "image/*", hidden: true, onchange: () => take([...input.files]) });
  const line = h("p", { role: "status", class: "soft" }), failed = h("div");
  const control = button(t("upload.button"), () => input.click());
  const node = h("div", { class: "uploads", hidden: true }, line, failed);

  async function take(files) {
    if (!files.length) return;
    node.hidden = false;
    control.disabled = true;
    failed.replaceChildren();
    const skipped = [], label = target();
    const skip = (some, error) => { skipped.push(...some.map((file) => ({ file: file.name, error }))); };
    const small = files.filter((file) => file.size <= 8e6 || skip([file], t("upload.large")));
    let added = 0, sent = 0;
    for (const some of portions(small)) {
      write(line, t("upload.going", { n: number(sent), all: number(small.length) }));
      const form = new FormData();
      form.append("class", label);
      for (const file of some) form.append("file", file, file.name);
      try {
        const answer = await live.send("/api/cases/upload", form);
        added += answer.added;
        skipped.push(...answer.skipped);
      } catch (error) { skip(some, error.message); }
      sent += some.length;
    }
    write(line, t("upload.done", { n: added, name: label || t("pictures.unsorted") }));
    if (skipped.length) failed.replaceChildren(table(t("upload.skipped"), [t("upload.file"), t("upload.why")], skipped.map(({ file, error }) => [file, error]), { figures: 9, shown: true }));
    control.disabled = false;
    input.value = "";
    await done(false);
  }

  document.addEventListener("dragover", (event) => { if (control.isConnected && event.dataTransfer.types.includes("Files")) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    if (!control.isConnected || !event.dataTransfer.files.length) return;
    event.preventDefault();
    if (!control.disabled) take([...event.dataTransfer.files]);
  });
  return { button: h("span", {}, input, control), node };
}

function* portions(files) {
  let some = [], size = 0;
  for (const file of files) {
    if (some.length && (some.length === FILES || size + file.size > BYTES)) { yield some; [some, size] = [[], 0]; }
    some.push(file);
    size += file.size;
  }
  if (some.length) yield some;
}
