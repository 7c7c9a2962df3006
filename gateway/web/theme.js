// Before the first paint, so that nobody is dazzled: the theme chosen on this device.
try {
  const chosen = localStorage.getItem("darkroom.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // storage is forbidden: the system's choice stands
}
