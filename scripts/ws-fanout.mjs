// A fan-out server made of npm's `ws`, for comparison with jsocketd's fan-out. It sends every posted text to every
// connection, as one text frame. There are no channels, no signatures and no history. It listens on a free port of
// 127.0.0.1 and prints its address as jsocketd does.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';

// The package lives with the other npm packages that tests need.
const { WebSocketServer } = createRequire(new URL('../tests/node/package.json', import.meta.url))('ws');

const http = createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const message = Buffer.concat(parts);
    for (const socket of server.clients) socket.send(message, { binary: false });
    response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': 2 });
    response.end('{}');
  });
});
const server = new WebSocketServer({ server: http, perMessageDeflate: false, maxPayload: 64 * 1024 });
server.on('connection', (socket) => socket.on('error', () => {})); // a reset is how a load test says good-bye
http.keepAliveTimeout = 600_000;
http.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});
http.listen({ host: '127.0.0.1', port: Number(process.argv[2] ?? 0), backlog: 65535 }, () => {
  const { address, port } = http.address();
  console.log(`listening on http://${address}:${port}/`);
});
