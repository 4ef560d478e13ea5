// Before the page is drawn, so that it does not change its colours afterwards.
try {
  document.documentElement.dataset.theme = JSON.parse(localStorage.getItem("rbe-edge/settings") || "{}").theme || "";
} catch {
  // No storage, or something else in it: as the system.
}
