// A WebSocket echo server made of npm's `ws`: what jsocketd's throughput is compared with, and a second opinion for the load
// generator. It listens on a free port of 127.0.0.1, prints its address as jsocketd does, and echoes on every path.
import { createRequire } from 'node:module';

// The package lives with the other npm packages that tests need.
const { WebSocketServer } = createRequire(new URL('../tests/node/package.json', import.meta.url))('ws');

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: Number(process.argv[2] ?? 0),
  backlog: 65535, // the kernel caps it
  perMessageDeflate: false,
  maxPayload: 16 * 1024 * 1024,
});
server.on('listening', () => {
  const { address, port } = server.address();
  console.log(`listening on http://${address}:${port}/`);
});
server.on('connection', (socket) => {
  socket.on('error', () => {}); // a reset is how a load test says good-bye
  socket.on('message', (message, isBinary) => socket.send(message, { binary: isBinary }));
});
server.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});
