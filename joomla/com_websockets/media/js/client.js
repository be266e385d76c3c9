// What the asset com_websockets.client loads: it connects the page, so that a page's scripts find the connection made. The module is
// imported by the one address that the options name: a second spelling would be a second connection.

const { module } = Joomla.getOptions('com_websockets', {});

if (module) (await import(module)).connect();
