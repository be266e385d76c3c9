// The script of the asset com_websockets.client. It connects the page, so that the connection exists when other scripts
// need it. It imports the module by the address in the options. Another spelling of the address would make a second
// connection.

const { module } = Joomla.getOptions('com_websockets', {});

if (module) (await import(module)).connect();
