'use strict';

// Shows one of the tabs. The address names the tab (`#channels`), so that a link can lead to it. No element has this id:
// the browser would scroll to it and hide the bar. Arrow keys move between the tabs, as in every tab list. The event `tab`
// of the window names the shown tab to the other scripts.

{
  const tabs = [...document.querySelectorAll('[role="tab"]')];
  const nameOf = (tab) => tab.id.replace('tab-', '');
  const named = (hash) => tabs.find((tab) => `#${nameOf(tab)}` === hash) ?? tabs[0];

  function select(tab) {
    const chosen = nameOf(tab);
    for (const other of tabs) {
      other.setAttribute('aria-selected', String(other === tab));
      other.tabIndex = other === tab ? 0 : -1;
    }
    for (const part of document.querySelectorAll('[data-tab]')) part.hidden = part.dataset.tab !== chosen;
    document.title = `jsocketd ${chosen}`;
    window.dispatchEvent(new CustomEvent('tab', { detail: chosen }));
  }

  function choose(tab) {
    // replaceState adds no entry to the history.
    history.replaceState(null, '', `#${nameOf(tab)}`);
    select(tab);
  }

  for (const [at, tab] of tabs.entries()) {
    tab.addEventListener('click', () => choose(tab));
    tab.addEventListener('keydown', (event) => {
      if (!isAlone(event)) return;
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const next = tabs.at(to % tabs.length);
      next.focus();
      choose(next);
    });
  }
  window.addEventListener('hashchange', () => select(named(location.hash)));
  select(named(location.hash));
}
