// Takes the README's picture of the console page: docs/console.png.

import { fileURLToPath } from 'node:url';
import { launchBrowser, missing, startServer } from './start.mjs';

if (missing) throw new Error(`there is no ${missing}`);
const server = await startServer();
const browser = await launchBrowser();
const page = await browser.newPage({ viewport: { width: 1120, height: 690 }, colorScheme: 'light' });
await page.goto(server.url);
await page.locator('#commands[data-from="server"]').waitFor();
const commands = ['test', 'version', 'time', 'tset', 'stats'];
for (const [at, command] of commands.entries()) {
  await page.fill('#command', command);
  await page.press('#command', 'Enter');
  await page.locator('#talk-log .entry[data-kind="reply"]').nth(at).waitFor();
}
await page.screenshot({ path: fileURLToPath(new URL('../../docs/console.png', import.meta.url)) });
await browser.close();
await server.end();
