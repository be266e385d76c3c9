// Takes the README's picture of a visitor's page: docs/visitor.png. An article was changed while it was open.

import { fileURLToPath } from 'node:url';
import { launchBrowser, missing, startStand } from './stand.mjs';

if (missing) throw new Error(`there is no ${missing}`);
const [stand, browser] = await Promise.all([startStand(), launchBrowser()]);
try {
  const context = await browser.newContext({ viewport: { width: 800, height: 493 }, colorScheme: 'light', reducedMotion: 'reduce' });
  await context.addCookies([{ ...stand.members[0].cookie, url: stand.url }]);
  const page = await context.newPage();
  await page.goto(`${stand.url}?picture=1`);
  // The bar comes as soon as the page hears of a change, so changes are published until it does.
  const bar = page.locator('.websockets-bar');
  for (let tries = 0; tries < 40 && !(await bar.isVisible()); tries += 1) {
    await stand.publish(['private-com_content.article.1', 'changed', { context: 'com_content.article', id: 1, kind: 'changed' }]);
    await page.waitForTimeout(250);
  }
  await bar.waitFor();
  await page.screenshot({ path: fileURLToPath(new URL('../../docs/visitor.png', import.meta.url)) });
} finally {
  await browser.close();
  await stand.end();
}
