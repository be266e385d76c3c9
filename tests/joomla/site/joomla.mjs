// Actions of users on a Joomla site: logging in, saving forms, publishing and trashing in lists. It uses Joomla's forms
// and tasks, which are the same in 4, 5 and 6. It has nothing of jsocketd.

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

export const URL_OF_SITE = process.env.JOOMLA_URL;
const ADMINISTRATOR = `${URL_OF_SITE}administrator/index.php`;
const PHP = (process.env.PHP ?? 'php').split(' ');

/** The messages of a form that Joomla does not save. */
export class Refused extends Error {}

/** Runs a command of the site's command line and returns its output. */
export const command = (...words) => run([...words, '--no-interaction']);

/** Removes an extension. Joomla 4 asks for confirmation even without interaction. */
export const remove = (id) => run(['extension:remove', id], 'yes\n');

async function run(words, answer = '') {
  const [program, ...all] = [...PHP, `${process.env.JOOMLA_ROOT}/cli/joomla.php`, ...words];
  const running = promisify(execFile)(program, all, { maxBuffer: 1 << 24 });
  running.child.stdin.end(answer);
  const { stdout, stderr } = await running;
  return stdout + stderr;
}

/** The address of a page of the site. */
export const front = (query) => `${URL_OF_SITE}index.php?${query}`;

/** The address of a page of the back end. */
export const back = (query) => `${ADMINISTRATOR}?${query}`;

/** Logs in to the back end and switches off its guided tours, which would lead the page elsewhere. */
export async function logInToBackEnd(page, user, password) {
  await page.route(/plugin=(guidedtours|sendStats)/, (route) => route.fulfill({ json: { success: false, data: null } }));
  await page.goto(ADMINISTRATOR);
  await page.fill('input[name=username]', user);
  await page.fill('input[name=passwd]', password);
  await Promise.all([page.waitForNavigation(), page.press('input[name=passwd]', 'Enter')]);
  await page.waitForSelector('a[href*="task=logout"]', { state: 'attached' });
}

/** Logs in to the site. */
export async function logIn(page, user, password) {
  await page.goto(front('option=com_users&view=login'));
  const form = page.locator('form.com-users-login__form, .com-users-login form').first();
  await form.locator('input[name=username]').fill(user);
  await form.locator('input[name=password]').fill(password);
  await Promise.all([page.waitForNavigation(), form.locator('button[type=submit]').first().click()]);
}

/** Logs out of the site without leaving the open page. */
export const logOut = (page) => task(page, front('option=com_users&task=user.logout'), {});

/** Posts a task with the page's token, like a button of a list. The page stays. */
export async function task(page, address, fields) {
  const status = await page.evaluate(async ([address, fields]) => {
    const token = globalThis.Joomla?.getOptions?.('csrf.token') ?? document.querySelector('input[type=hidden][value="1"]').name;
    const body = new URLSearchParams([...Object.entries(fields).flatMap(([name, value]) => [].concat(value).map((one) => [name, one])), [token, '1']]);
    return (await fetch(address, { method: 'POST', body, redirect: 'follow' })).status;
  }, [address, fields]);
  if (status >= 400) throw new Error(`${address} answered ${status}`);
}

/**
 * Opens a form of the back end, sets fields by name, and saves with `save` (such as `article.apply`). It returns the
 * id.
 */
export async function saveForm(page, query, fields, save) {
  await page.goto(back(query));
  await page.waitForSelector('form[name=adminForm] [name=task]', { state: 'attached' });
  await Promise.all([
    page.waitForNavigation(),
    page.evaluate(([fields, save]) => {
      for (const [name, value] of Object.entries(fields)) {
        const all = [...document.querySelectorAll(`[name="${name}"]`)];
        if (all.length === 0) throw new Error(`there is no field ${name}`);
        const [field] = all;
        if (field.type === 'radio') all.find((radio) => radio.value === String(value)).checked = true;
        else if (field.type === 'checkbox') for (const box of all) box.checked = [].concat(value).map(String).includes(box.value);
        else {
          if (field.tagName === 'SELECT' && ![...field.options].some((option) => option.value === String(value))) {
            field.append(new Option(value, value));
          }
          field.value = value;
        }
      }
      // This skips the checks in the browser. The server decides what is saved.
      const form = document.querySelector('form[name=adminForm]');
      form.querySelector('[name=task]').value = save;
      HTMLFormElement.prototype.submit.call(form);
    }, [fields, save]),
  ]);
  const errors = await page.locator('joomla-alert[type=danger], joomla-alert[type=error]').allInnerTexts();
  if (errors.length) throw new Refused(`${query}: ${errors.join(' ')}`);
  return Number(await page.evaluate(() => document.querySelector('#jform_id, [name="jform[id]"]')?.value ?? 0));
}

/** Saves an article, or a new one without `id`. It returns the id. */
export const saveArticle = (page, { id, ...fields }) =>
  saveForm(page, id ? `option=com_content&task=article.edit&id=${id}` : 'option=com_content&task=article.add',
    Object.fromEntries(Object.entries(fields).map(([name, value]) => [`jform[${name}]`, value])), 'article.apply')
    .then(async (saved) => {
      await checkIn(page, 'option=com_content&task=articles.checkin', saved);
      return saved;
    });

/** Saves a category of articles, or a new one without `id`. It returns the id. */
export const saveCategory = (page, { id, ...fields }) =>
  saveForm(page, `option=com_categories&extension=com_content&task=category.${id ? `edit&id=${id}` : 'add'}`,
    Object.fromEntries(Object.entries(fields).map(([name, value]) => [`jform[${name}]`, value])), 'category.apply')
    .then(async (saved) => {
      await checkIn(page, 'option=com_categories&extension=com_content&task=categories.checkin', saved);
      return saved;
    });

const checkIn = (page, query, id) => task(page, back(query), { 'cid[]': id });

/** publish, unpublish, archive, trash or delete of articles. */
export const articles = (page, verb, ids) => task(page, back(`option=com_content&task=articles.${verb}`), { 'cid[]': ids });

/** publish, unpublish, trash or delete of categories. */
export const categories = (page, verb, ids) =>
  task(page, back(`option=com_categories&extension=com_content&task=categories.${verb}`), { 'cid[]': ids });

/** Makes a user in the groups who can log in at once. It returns the id. */
export const addUser = (page, { username, password, groups }) =>
  saveForm(page, 'option=com_users&task=user.add', {
    'jform[name]': username,
    'jform[username]': username,
    'jform[email]': `${username}@example.org`,
    'jform[password]': password,
    'jform[password2]': password,
    'jform[groups][]': groups,
  }, 'user.apply');

/** block, unblock or delete of users. */
export const users = (page, verb, ids) => task(page, back(`option=com_users&task=users.${verb}`), { 'cid[]': ids });

/** Saves options of a component. */
export const saveOptions = (page, component, fields) =>
  saveForm(page, `option=com_config&view=component&component=${component}`,
    Object.fromEntries(Object.entries(fields).map(([name, value]) => [`jform[${name}]`, value])), 'component.apply');

/** Runs statements in the site's database, with `#__` for its prefix. It returns the rows of the last one. */
export async function sql(statements) {
  const script = fileURLToPath(new URL('sql.php', import.meta.url));
  const { stdout } = await promisify(execFile)('php', [script, process.env.JOOMLA_ROOT, statements]);
  return JSON.parse(stdout);
}

/** Sets the state and the parameters (a JSON text) of a plugin in the database. It returns the earlier ones. */
export async function setPlugin(folder, element, { enabled, params }) {
  const [before] = await sql(`SELECT enabled, params FROM #__extensions WHERE type = 'plugin' AND folder = '${folder}' AND element = '${element}'`);
  const text = params.replace(/[\\']/g, '\\$&');
  await sql(`UPDATE #__extensions SET enabled = ${Number(enabled)}, params = '${text}'
    WHERE type = 'plugin' AND folder = '${folder}' AND element = '${element}'; SELECT 1`);
  return before;
}
