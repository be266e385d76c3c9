// The bar on an item's page. It says that the item was changed and has a button to load the page again, or it says that
// the item is gone. It makes no request, takes no focus, and reloads nothing by itself. Its texts are in the language
// file (COM_WEBSOCKETS_BAR_…), its style is css/bar.css.

const { module, item } = Joomla.getOptions('com_websockets', {});
const text = (key) => Joomla.Text._(`COM_WEBSOCKETS_BAR_${key}`);

function createBar() {
  const bar = document.createElement('div');
  bar.className = 'websockets-bar';
  // Screen readers speak only regions that exist and are visible before their text changes.
  const status = document.createElement('p');
  status.setAttribute('role', 'status');
  status.id = 'websockets-bar-text';
  bar.append(status);
  document.body.append(bar);
  let before; // the element that had the focus before the bar
  bar.addEventListener('focusin', ({ relatedTarget }) => {
    if (relatedTarget && !bar.contains(relatedTarget)) before = relatedTarget;
  });

  function button(key, act) {
    const made = document.createElement('button');
    made.type = 'button';
    made.textContent = text(key);
    made.addEventListener('click', act);
    return made;
  }

  function dismiss() {
    const held = bar.contains(document.activeElement);
    bar.classList.remove('is-shown');
    bar.removeAttribute('role');
    bar.removeAttribute('aria-labelledby');
    bar.replaceChildren(status);
    status.textContent = '';
    if (held) before?.focus();
  }

  bar.addEventListener('keydown', ({ key }) => key === 'Escape' && dismiss());

  return function show(key) {
    const buttons = [...bar.querySelectorAll('button')];
    if (status.textContent !== text(key)) status.textContent = text(key);
    bar.setAttribute('role', 'region');
    bar.setAttribute('aria-labelledby', status.id);
    bar.classList.add('is-shown');
    // An item that is gone cannot be loaded again. Existing buttons stay, because one may have the focus.
    const reloads = key !== 'GONE';
    if (!buttons.length) bar.append(button('DISMISS', dismiss));
    if (reloads && buttons.length < 2) status.after(button('RELOAD', () => location.reload()));
    if (!reloads && buttons.length > 1) buttons[0].remove();
  };
}

async function watch() {
  const client = (await import(module)).connect();
  const channel = client.subscribe(`private-${item.context}.${item.id}`);
  const show = createBar();
  let wanted;
  const soon = () => show(wanted);
  const showSoon = (key) => {
    wanted = key;
    client.spread(soon); // so that not all readers load the page in the same moment
  };
  // A row gets its number when a server sees it. So this page may get a hint about a change that it already shows. `at`
  // is a time of PHP's clock on both sides.
  const isNews = (hint) => !(hint?.at <= item.at);
  const changed = (hint) => isNews(hint) && showSoon('CHANGED');
  channel.on('created', changed).on('changed', changed).on('gone', (hint) => isNews(hint) && showSoon('GONE'));
  // A cached page that is older than the server's memory gets a gap at once, on each load. That gap is not shown.
  let ready = false;
  channel.on('gap', () => ready && showSoon('GAP')).on('ready', () => setTimeout(() => (ready = true)));
}

if (module && item) await watch();
