// Questions and settings, in the browser's own dialogs: these keep the focus, and Escape closes them.

import { byId, element, onClick } from "./elements.js";
import * as store from "./store.js";

// What was typed, or null where it was cancelled.
export function ask({ title, text = "", value = "", yes, secret = false }) {
  const dialog = byId("ask");
  const field = byId("ask-value");
  byId("ask-title").textContent = title;
  byId("ask-text").textContent = text;
  byId("ask-yes").textContent = yes;
  field.type = secret ? "password" : "text";
  field.value = value;
  dialog.returnValue = "";
  dialog.showModal();
  field.select();
  return new Promise((resolve) => {
    const closed = () => {
      resolve(dialog.returnValue ? field.value : null);
      field.value = "";
    };
    dialog.addEventListener("close", closed, { once: true });
  });
}

export function askForKey(again) {
  return ask({
    title: again ? "The API key is wrong" : "This server needs a key",
    text: "It is what rbe serve was given as --api-key or RBE_API_KEY. It stays in this tab until you close it.",
    yes: "Use it",
    secret: true,
  });
}

export function showSettings() {
  const now = store.settings();
  byId("temperature").value = now.temperature;
  byId("temperature-now").textContent = now.temperature.toFixed(1);
  byId("max-tokens").value = now.maxTokens;
  byId("system").value = now.system;
  byId("theme").value = now.theme;
  byId("settings").showModal();
}

// Each change counts at once.
export function watchSettings() {
  const keep = (changed) => store.keepSettings(changed);
  byId("temperature").addEventListener("input", (event) => {
    byId("temperature-now").textContent = Number(event.target.value).toFixed(1);
    keep({ temperature: Number(event.target.value) });
  });
  byId("max-tokens").addEventListener("change", (event) => {
    const given = Math.round(Number(event.target.value));
    const kept = Math.min(Math.max(given || 1, 1), 1000000);
    event.target.value = kept;
    keep({ maxTokens: kept });
  });
  byId("system").addEventListener("input", (event) => keep({ system: event.target.value }));
  byId("theme").addEventListener("change", (event) => {
    keep({ theme: event.target.value });
    document.documentElement.dataset.theme = event.target.value;
  });
  for (const dialog of document.querySelectorAll("dialog")) {
    onClick(dialog, (event) => event.target === dialog && dialog.close()); // beside it
  }
}

export function download(name, text, type) {
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
