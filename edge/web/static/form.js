// Fields of one table of the config, made from the JSON Schema of its keys.
import { h, number, t } from "/dom.js";

// saved: what a restart would give; now: what is in force. oninput gets what is typed.
export function fields(table, keys, schemas, saved, now, oninput) {
  const parts = keys.map((key) => field(table, key, schemas[key], saved?.[key], now?.[key]));
  const node = h("div", { class: "inputs", oninput: () => oninput(Object.fromEntries(parts.map((one) => [one.key, one.value()]))) }, parts.map((one) => one.node));
  return {
    node,
    changes: () => Object.fromEntries(parts.filter((one) => one.changed()).map((one) => [one.key, one.value()])),
    invalid(text) {
      for (const one of parts) {
        const hit = text.includes(`${table === "controls" ? "" : `${table}.`}${one.key}`);
        one.input.setAttribute("aria-invalid", hit);
        if (hit) one.input.focus();
      }
    },
  };
}

const written = (v) => (v === "" ? "–" : v === true ? t("settings.on") : v === false ? t("settings.off") : typeof v === "number" ? number(v, Number.isInteger(v) ? 0 : 3) : v);

function field(table, key, schema, saved, now) {
  const optional = schema.anyOf?.some((one) => one.type === "null");
  const rule = optional ? schema.anyOf.find((one) => one.type !== "null") : schema;
  const begin = optional && saved === null ? null : now ?? saved ?? null;
  const id = `${table}-${key}`;
  const [title, hint = ""] = t(`settings.keys.${table}.${key}`).split("|");
  let input, value;
  if (rule.enum) {
    input = h("select", { id }, optional && h("option", { value: "" }, t("settings.own")), rule.enum.map((one) => h("option", { value: one }, String(one))));
    input.value = begin ?? "";
    value = () => (input.value === "" ? null : typeof rule.enum[0] === "number" ? Number(input.value) : input.value);
  } else if (rule.type === "boolean") {
    input = h("input", { id, type: "checkbox", checked: begin === true });
    value = () => input.checked;
  } else if (rule.type === "integer" || rule.type === "number") {
    input = h("input", { id, type: "number", min: rule.minimum ?? rule.exclusiveMinimum, max: rule.maximum, step: rule.type === "integer" ? 1 : "any", inputmode: "decimal", placeholder: optional && now != null ? now : "" });
    input.value = begin ?? "";
    value = () => (input.value.trim() === "" ? null : Number(input.value));
  } else {
    input = h("input", { id, type: "text", autocomplete: "off" });
    input.value = begin ?? "";
    value = () => input.value;
  }
  const bounds = rule.minimum != null && rule.maximum < 1e6 ? t("settings.bounds", { low: written(rule.minimum), high: written(rule.maximum) }) : "";
  const usual = schema.default, plain = usual !== undefined && typeof usual !== "object";
  const fallback = optional ? (hint ? "" : t("settings.empty")) : plain ? t("settings.default", { value: written(usual) }) : "";
  const words = h("p", { class: "soft", id: `${id}-hint` }, [hint, bounds, fallback].filter(Boolean).join(" "));
  input.setAttribute("aria-describedby", words.id);
  const box = rule.type === "boolean";
  return {
    key, input, value,
    node: h("div", { class: box ? "input box" : "input" }, box ? h("label", { class: "check" }, input, title) : [h("label", { for: id }, title), input], words),
    changed: () => value() !== begin && !(value() === null && !optional),
  };
}
