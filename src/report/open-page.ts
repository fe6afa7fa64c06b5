/** Shows a page in the reader's browser, where there is one. */
import { spawn } from 'node:child_process';

/** Asks the system to open a URL or file. Returns whether there was anyone to ask; never fails: the URL has been printed. */
export function openPage(url: string): boolean {
  const asked = commandFor(url);
  if (asked === undefined) return false;
  const [command, ...args] = asked;
  const child = spawn(command, args, { stdio: 'ignore', detached: true });
  child.on('error', () => undefined); // no such program
  child.unref();
  return true;
}

function commandFor(url: string): [string, ...string[]] | undefined {
  if (process.platform === 'darwin') return ['open', url];
  if (process.platform === 'win32') return ['cmd', '/c', 'start', '""', url];
  const hasScreen = process.env.DISPLAY || process.env.WAYLAND_DISPLAY;
  return hasScreen ? ['xdg-open', url] : undefined;
}
