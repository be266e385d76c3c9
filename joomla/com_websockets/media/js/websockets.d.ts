// The types of websockets.js. docs/client.md describes the module.

/** The options that the plugin adds to the page: `Joomla.getOptions('com_websockets')`. */
export interface PageOptions {
  /** `wss://HOST[:PORT][/PATH]`. */
  url: string;
  key: string;
  /** The address of this module. Always import it by this address. */
  module?: string;
  /** The position of the page, which PHP read. Missing if PHP could not read it. */
  position?: string;
  /** Milliseconds over which pages spread their requests to PHP. */
  spread?: number;
  /** Whether a user is logged in. Then the form token proves the connection, and the page may reload itself. */
  member?: boolean;
  /** The item of the page, and when its request began, in Unix milliseconds of PHP's clock. */
  item?: { context: string; id: number; at?: number };
}

export type State = 'connecting' | 'connected' | 'unavailable' | 'failed' | 'closed';

export interface Close {
  code: number;
  reason: string;
}

export interface Meta {
  /** The position of the event. Events of the connection itself (`ready`, `gap`, `refused`, …) have none. */
  id?: string;
  /** The member of the presence channel who sent the client event. */
  userId?: string;
}

export interface Refusal {
  type: 'AuthError' | 'InvalidChannel' | 'LimitReached' | 'AccessDenied' | 'AccessWithdrawn';
  error: string;
  status: number;
}

export interface Channel {
  readonly name: string;
  /** The subscription was accepted. Missed events follow. In presence channels with the members, as in pusher-js. */
  on(event: 'ready', listener: (members?: unknown, meta?: Meta) => void): this;
  /** Events may be lost. Load the content of the page again. */
  on(event: 'gap', listener: () => void): this;
  /** The site refused the subscription of this visitor. */
  on(event: 'refused', listener: (refusal: Refusal, meta: Meta) => void): this;
  /** The item is gone (a hint), or the visitor may no longer subscribe (a refusal). */
  on(event: 'gone', listener: (data: Refusal | unknown, meta: Meta) => void): this;
  /** An event of the site by its name. */
  on<Data = unknown>(event: string, listener: (data: Data, meta: Meta) => void): this;
  /** Without a listener it removes all listeners of the event. */
  off(event: string, listener?: (...values: any[]) => void): this;
  unsubscribe(): void;
  /** `Client.spread`. */
  spread(run: () => void): void;
}

export interface Client {
  readonly state: State;
  /** The id of the connection, or null. Send it to PHP to get no copy of events that the page itself causes. */
  readonly socketId: string | null;
  /** The client of pusher-js 8, for everything that is missing here. */
  readonly pusher: any;
  on(event: 'state', listener: (state: State, why?: Close) => void): this;
  off(event: 'state', listener?: (state: State, why?: Close) => void): this;
  /**
   * `from: 'page'` gets all events since the page was made, `'last'` all since the last event of the channel in this
   * tab.
   */
  subscribe(channel: string, options?: { from?: 'page' | 'last' }): Channel;
  /** Runs a function once after a random part of `spread` milliseconds. Further calls in that time do nothing. */
  spread(run: () => void): void;
  /**
   * Reloads the page, spread. False: it does not (at most once an hour in a tab, and only for users who are logged in).
   */
  reload(): boolean;
  close(): void;
}

/** The client of this page. Calls with the same address and key get the same client. */
export function connect(options?: PageOptions): Client;
