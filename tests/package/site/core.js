// The part of Joomla's core.js that the package uses.
window.Joomla = { optionsStorage: null, Text: { strings: {} } };
Joomla.getOptions = (key, def) => {
  if (!Joomla.optionsStorage) {
    Joomla.optionsStorage = {};
    for (const element of document.querySelectorAll('.joomla-script-options.new')) {
      Object.assign(Joomla.optionsStorage, JSON.parse(element.text));
      element.className = 'joomla-script-options loaded';
    }
    Joomla.Text.strings = Joomla.optionsStorage['joomla.jtext'] ?? {};
  }
  return Joomla.optionsStorage[key] ?? def;
};
Joomla.Text._ = (key, def) => {
  Joomla.getOptions('joomla.jtext');
  return Joomla.Text.strings[key.toUpperCase()] ?? def ?? key;
};
