// Events in words.
import { duration, known, number, t } from "/dom.js";

const HIDDEN = new Set(["frame", "before_s", "score"]);

export function eventText(event) {
  const { type, before, after, evidence = {} } = event;
  if (type === "label_changed") {
    return t("events.label", { before: before ?? t("now.uncertain"), after: after ?? t("now.uncertain"), score: number(evidence.score, 2) });
  }
  const title = known(`events.${type}`) ? t(`events.${type}`) : type.replaceAll("_", " ");
  const rest = Object.entries(evidence).filter(([key]) => !HIDDEN.has(key)).map(([key, value]) =>
    key.endsWith("_s") && typeof value === "number" ? `${key.slice(0, -2).replaceAll("_", " ")} ${duration(value)}`
      : `${key.replaceAll("_", " ")} ${typeof value === "number" ? number(value, Number.isInteger(value) ? 0 : 2) : value}`);
  return rest.length ? `${title}: ${rest.join(", ")}` : title;
}

// Which events deserve attention: a sign, never a colour alone.
export const eventKind = (type) =>
  /lost|stalled|failed|corrupt|invalid|duplicate/.test(type) ? "fault" : /throttled|lowered|drift_began|rolled_back|refused/.test(type) ? "warning" : "";
