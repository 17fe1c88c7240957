// The device's picture: at most one a second, only while it can be seen.
import { button, div, h, para, span, t, write } from "/dom.js";
import * as live from "/live.js";

const EVERY_MS = 1000;
const AGAIN_MS = 5000; // after a refusal

// The share of a picture's width and height that the model takes, around its centre. Source: edge/model/preprocess.py.
export function taken(model, aspect) {
  const { central_fraction: share = 1, resize, input_shape: shape } = model ?? {};
  const own = resize === "crop" ? shape[2] / shape[1] / aspect : 1;
  return [share * Math.min(1, own), share * Math.min(1, 1 / own)];
}

export function camera() {
  const image = h("img", { alt: t("picture.alt"), onload: draw });
  const words = para("empty");
  const sheet = h("div", { class: "sheet", hidden: true }, image, span("used"));
  const place = div("screen", sheet, words);
  const caption = h("span");
  let wanted = localStorage.getItem("picture") === "on", isOpen = false, timer = 0, busy = false, address = "", takenMs = null, refused = false;
  const age = live.aged(() => takenMs, () => refused || Date.now() - takenMs > 8000, place);
  const control = button("", () => { wanted = !wanted; localStorage.setItem("picture", wanted ? "on" : "off"); draw(); next(0); });
  const node = h("figure", { class: "card picture" }, h("header", {}, h("h2", {}, t("picture.title")), age), place,
    h("figcaption", {}, caption, control));

  function draw() {
    const config = live.settings(), off = config.snapshot && !config.snapshot.enabled;
    control.hidden = off;
    write(control, t(wanted ? "picture.hide" : "picture.show"));
    control.setAttribute("aria-pressed", wanted);
    sheet.hidden = age.hidden = !wanted || off || !address;
    const aspect = image.naturalWidth / image.naturalHeight || 1, [wide, high] = taken(live.info()?.model, aspect);
    for (const [name, value] of Object.entries({ aspect, x: `${50 - wide * 50}%`, y: `${50 - high * 50}%` })) sheet.style.setProperty(`--${name}`, value);
    write(caption, !config.camera || off ? "" : `${t(config.camera.roi.join() === "0,0,1,1" ? "picture.whole" : "picture.part")} ${wide * high < 0.999 && !sheet.hidden ? t("picture.inside") : ""}`);
    if (off) words.replaceChildren(t("picture.off"), " ", h("a", { href: "#/settings" }, t("picture.how")));
    else if (!wanted) write(words, t("picture.hidden"));
    else if (!address && !words.dataset.error) write(words, t("picture.waiting"));
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
  return { node, open() { isOpen = true; draw(); next(0); }, close() { isOpen = false; clearTimeout(timer); } };
}
