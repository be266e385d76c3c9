// An older Pusher of the page itself, whose name is read-only.
Object.defineProperty(window, 'Pusher', { value: class Pusher { static own = true; }, writable: false, configurable: false });
localStorage.setItem('pusherTransportNonTLS', JSON.stringify({ timestamp: Date.now(), transport: 'xhr_polling', latency: 1, cacheSkipCount: 0 }));
