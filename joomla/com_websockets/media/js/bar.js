// The bar on an item's page: says that the item was changed, and offers to load it again; or that it is no longer there. It asks PHP
// nothing, takes no focus and reloads nothing by itself. Its texts are the site's (COM_WEBSOCKETS_BAR_…), its looks css/bar.css.

const { module, item } = Joomla.getOptions('com_websockets', {});
const text = (key) => Joomla.Text._(`COM_WEBSOCKETS_BAR_${key}`);

function createBar() {
  const bar = document.createElement('div');
  bar.className = 'websockets-bar';
  // A region that is spoken must be there, and seen, before its text is.
  const status = document.createElement('p');
  status.setAttribute('role', 'status');
  status.id = 'websockets-bar-text';
  bar.append(status);
  document.body.append(bar);
  let before; // where the focus was until it came here by hand
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
    // What is gone cannot be loaded again. Buttons that are there stay: one may have the focus.
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
  const say = (key) => {
    wanted = key;
    client.spread(soon); // or all readers would load it in the same moment
  };
  // A row gets its place in the stream when it is seen. So the change that this page was made after may be told to it.
  // `at` is by PHP's clock on both sides.
  const isNews = (hint) => !(hint?.at <= item.at);
  const changed = (hint) => isNews(hint) && say('CHANGED');
  channel.on('created', changed).on('changed', changed).on('gone', (hint) => isNews(hint) && say('GONE'));
  // A page that is older than what the server remembers is told so at once, each time a cache hands it out: no news then.
  let ready = false;
  channel.on('gap', () => ready && say('GAP')).on('ready', () => setTimeout(() => (ready = true)));
}

if (module && item) await watch();
