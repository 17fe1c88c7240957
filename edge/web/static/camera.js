// The device's picture, on demand: one at a time, at most one a second, only while it can be seen.
import { button, h, t, toggle, write } from "/dom.js";
import * as live from "/live.js";

const EVERY_MS = 1000;
const AGAIN_MS = 5000; // after a refusal

export function camera() {
  const image = h("img", { alt: t("picture.alt"), hidden: true });
  const words = h("p", { class: "empty" });
  const place = h("div", { class: "screen" }, image, words);
  const part = h("span", { class: "part", hidden: true, "aria-hidden": "true" }, h("span"));
  const caption = h("span");
  let wanted = localStorage.getItem("picture") === "on", isOpen = false, timer = 0, busy = false, address = "", takenMs = null, refused = false;
  const age = live.aged(() => takenMs, () => takenMs !== null && (refused || Date.now() - takenMs > 8000), place);
  const control = button("", () => { wanted = !wanted; localStorage.setItem("picture", wanted ? "on" : "off"); draw(); next(0); });
  const node = h("figure", { class: "card picture" }, h("header", {}, h("h2", {}, t("picture.title")), age), place,
    h("figcaption", {}, part, caption, control));

  function draw() {
    const config = live.settings(), off = config.snapshot && !config.snapshot.enabled;
    control.hidden = off;
    write(control, t(wanted ? "picture.hide" : "picture.show"));
    control.setAttribute("aria-pressed", wanted);
    const [left, top, width, height] = config.camera?.roi ?? [0, 0, 1, 1];
    const cut = width < 1 || height < 1;
    part.hidden = !cut;
    for (const [name, value] of Object.entries({ left, top, width, height })) part.style.setProperty(`--${name}`, `${value * 100}%`);
    write(caption, !config.camera ? "" : cut ? t("picture.part") : t("picture.whole"));
    image.hidden = !wanted || off || !address;
    age.hidden = image.hidden;
    if (off) words.replaceChildren(t("picture.off"), " ", h("a", { href: "#/settings" }, t("picture.how")));
    else if (!wanted) write(words, t("picture.hidden"));
    else if (!address && !words.dataset.error) write(words, t("picture.waiting"));
    toggle(place, "empty-screen", image.hidden);
  }

  async function take() {
    if (busy || !isOpen || !wanted || document.hidden || live.settings().snapshot?.enabled === false) return;
    busy = true;
    try {
      const picture = await live.blob("/snapshot.jpg");
      if (address) URL.revokeObjectURL(address);
      address = image.src = URL.createObjectURL(picture);
      takenMs = Date.now();
      refused = false;
      delete words.dataset.error;
      write(words, "");
    } catch (error) {
      refused = true;
      words.dataset.error = "1";
      write(words, live.fault(error));
    }
    busy = false;
    draw();
    next(refused ? AGAIN_MS : EVERY_MS);
  }

  function next(ms) {
    clearTimeout(timer);
    if (isOpen && wanted) timer = setTimeout(take, ms);
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) next(0); });
  live.listen((topic) => { if (topic === "info" && isOpen) { draw(); next(0); } });
  return { node, image, place, open() { isOpen = true; draw(); next(0); }, close() { isOpen = false; clearTimeout(timer); } };
}
