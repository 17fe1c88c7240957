// The part of the picture that is used: drawn with the mouse, or given in numbers. camera.roi.
import { busy, button, div, h, number, pair, para, soft, t, write } from "/dom.js";
import * as live from "/live.js";

const LEAST = 0.05;
const SIDES = ["left", "top", "width", "height"];

export function region(save) {
  const image = h("img", { alt: t("region.alt"), draggable: false, hidden: true }), box = div("box"), place = div("drawn", image, box);
  const inputs = SIDES.map((side) => h("input", { id: `roi-${side}`, type: "number", min: 0, max: 100, step: 1, inputmode: "decimal", onchange: typed }));
  const note = para("soft"), refused = h("p", { class: "refused", role: "alert" });
  const apply = button(t("settings.saveLater"), () => busy(apply, async () => {
    write(refused, "");
    try { await save({ camera: { roi: now.map((v) => Math.round(v * 1e4) / 1e4) } }); } catch (error) { write(refused, live.fault(error)); }
  }), "primary");
  const whole = button(t("region.whole"), () => { now = [0, 0, 1, 1]; draw(); });
  const node = h("details", { class: "card", "data-name": "region" }, h("summary", {}, t("region.title")), soft(t("region.what")), place,
    div("row", SIDES.map((side, n) => pair(t(`region.${side}`), inputs[n]))), note, refused,
    div("row", apply, whole));
  let now = [0, 0, 1, 1], drag = null, address = "";
  node.addEventListener("toggle", () => { if (node.open) take(); });

  // The picture shows what is used now: it lies in its place within the whole.
  async function take() {
    try {
      const picture = await live.blob("/snapshot.jpg");
      if (address) URL.revokeObjectURL(address);
      address = image.src = URL.createObjectURL(picture);
      await image.decode();
      const [left, top, width, height] = live.settings().camera?.roi ?? [0, 0, 1, 1];
      place.style.setProperty("--aspect", (image.naturalWidth / width) / (image.naturalHeight / height));
      for (const [n, value] of [left, top, width, height].entries()) image.style.setProperty(`--${SIDES[n]}`, `${value * 100}%`);
      image.hidden = false;
      write(note, "");
    } catch (error) {
      write(note, error.message);
    }
  }

  function draw() {
    for (const [n, side] of SIDES.entries()) {
      box.style.setProperty(`--${side}`, `${now[n] * 100}%`);
      inputs[n].value = number(now[n] * 100).replace(/[^\d.]/g, "");
    }
  }

  function typed() {
    const [left, top, width, height] = inputs.map((one) => Math.max(0, Math.min(100, Number(one.value) || 0)) / 100);
    now = fit(left, top, width, height);
    draw();
  }
  const fit = (left, top, width, height) => {
    const x = Math.min(left, 1 - LEAST), y = Math.min(top, 1 - LEAST);
    return [x, y, Math.max(LEAST, Math.min(width, 1 - x)), Math.max(LEAST, Math.min(height, 1 - y))];
  };
  const at = (event) => {
    const own = place.getBoundingClientRect();
    return [(event.clientX - own.x) / own.width, (event.clientY - own.y) / own.height].map((v) => Math.max(0, Math.min(1, v)));
  };
  place.addEventListener("pointerdown", (event) => { drag = at(event); place.setPointerCapture(event.pointerId); event.preventDefault(); });
  place.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [x, y] = at(event);
    if (Math.abs(x - drag[0]) < 0.01 && Math.abs(y - drag[1]) < 0.01) return;
    now = fit(Math.min(x, drag[0]), Math.min(y, drag[1]), Math.abs(x - drag[0]), Math.abs(y - drag[1]));
    draw();
  });
  place.addEventListener("pointerup", () => { drag = null; });
  return {
    node,
    draw(known) { now = [...(known.saved.camera?.roi ?? [0, 0, 1, 1])]; draw(); },
    open() { if (node.open) take(); },
    close() { drag = null; },
  };
}
