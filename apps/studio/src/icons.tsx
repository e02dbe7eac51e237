import type { ComponentChildren } from "preact";

function Icon({ children }: { readonly children: ComponentChildren }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      {children}
    </svg>
  );
}

export const LeafIcon = () => (
  <svg class="icon leaf" viewBox="0 0 32 32" aria-hidden="true">
    <path d="M26 4C13 4 5 11 5 20c0 2.4.5 4.6 1.4 6.5C9 18 14.5 12.5 21 10c-6 4-10.5 9.5-12.4 18 1.6.7 3.4 1 5.4 1C23 29 28 20 26 4Z" fill="currentColor" />
  </svg>
);
export const SendIcon = () => <Icon><path d="M12 19V5M6 11l6-6 6 6" /></Icon>;
export const StopIcon = () => <Icon><rect x="7" y="7" width="10" height="10" rx="1.5" fill="currentColor" /></Icon>;
export const PlayIcon = () => <Icon><path d="M8 5.500v13l10.5-6.500z" fill="currentColor" /></Icon>;
export const CopyIcon = () => <Icon><rect x="9" y="9" width="11" height="11" rx="2" /><path d="M5 15V6a2 2 0 0 1 2-2h8" /></Icon>;
export const CheckIcon = () => <Icon><path d="m5 12.5 4.5 4.500L19 7.5" /></Icon>;
export const AgainIcon = () => <Icon><path d="M20 11a8 8 0 1 0-2.3 6.300M20 4v7h-7" /></Icon>;
export const ThemeIcon = () => <Icon><circle cx="12" cy="12" r="8" /><path d="M12 4a8 8 0 0 1 0 16z" fill="currentColor" /></Icon>;
export const SettingsIcon = () => <Icon><path d="M4 7h9M19 7h1M4 17h1M11 17h9" /><circle cx="16" cy="7" r="2.5" /><circle cx="8" cy="17" r="2.5" /></Icon>;
export const PlusIcon = () => <Icon><path d="M12 5v14M5 12h14" /></Icon>;
