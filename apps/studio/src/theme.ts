export type Theme = "system" | "light" | "dark";

const themes: readonly Theme[] = ["system", "light", "dark"];
const name = "longjing.theme";

export function savedTheme(): Theme {
  return themes.find((theme) => theme === localStorage.getItem(name)) ?? "system";
}

export function nextTheme(theme: Theme): Theme {
  return themes[(themes.indexOf(theme) + 1) % themes.length] ?? "system";
}

/** The style sheet goes by `color-scheme`; charts draw themselves anew on the event. */
export function applyTheme(theme: Theme): void {
  localStorage.setItem(name, theme);
  document.documentElement.style.colorScheme = theme === "system" ? "light dark" : theme;
  dispatchEvent(new Event("themechange"));
}
