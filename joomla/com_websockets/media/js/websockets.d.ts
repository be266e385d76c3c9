// The types of websockets.js. Everything else about it stands in docs/client.md.

/** What the plugin hands to the page: `Joomla.getOptions('com_websockets')`. */
export interface PageOptions {
  /** `wss://HOST[:PORT][/PATH]`. */
  url: string;
  key: string;
  /** The one address of this module on the site. */
  module?: string;
  /** Where the page begins, as PHP read it. Not there if PHP could not. */
  position?: string;
  /** Milliseconds over which pages spread what they ask PHP. */
  spread?: number;
  /** Whether the page is a member's: then the form token proves the connection, and the page may load itself again. */
  member?: boolean;
  /** What the page shows, and when its request began, in Unix milliseconds of PHP's clock. */
  item?: { context: string; id: number; at?: number };
}

export type State = 'connecting' | 'connected' | 'unavailable' | 'failed' | 'closed';

export interface Close {
  code: number;
  reason: string;
}

export interface Meta {
  /** The event's position; events of the connection itself (`ready`, `gap`, `refused`, …) have none. */
  id?: string;
  /** The member of a presence channel who sent a client event. */
  userId?: string;
}

export interface Refusal {
  type: 'AuthError' | 'InvalidChannel' | 'LimitReached' | 'AccessDenied' | 'AccessWithdrawn';
  error: string;
  status: number;
}

export interface Channel {
  readonly name: string;
  /** The subscription stands; events that were missed follow. In presence channels with the members, as pusher-js has them. */
  on(event: 'ready', listener: (members?: unknown, meta?: Meta) => void): this;
  /** Events may have been missed that nobody can tell any more: load anew what the page shows. */
  on(event: 'gap', listener: () => void): this;
  /** The site does not let this visitor listen. */
  on(event: 'refused', listener: (refusal: Refusal, meta: Meta) => void): this;
  /** The site said that the item is gone (a hint), or no longer lets this visitor listen (a refusal). */
  on(event: 'gone', listener: (data: Refusal | unknown, meta: Meta) => void): this;
  /** An event of the site, by its name. */
  on<Data = unknown>(event: string, listener: (data: Data, meta: Meta) => void): this;
  /** Without a listener: all of this event. */
  off(event: string, listener?: (...said: any[]) => void): this;
  unsubscribe(): void;
  /** `Client.spread`. */
  spread(run: () => void): void;
}

export interface Client {
  readonly state: State;
  /** Of the connection; null while there is none. Hand it to PHP to get no copy of what one causes. */
  readonly socketId: string | null;
  /** The client of pusher-js 8, for all that is not here. */
  readonly pusher: any;
  on(event: 'state', listener: (state: State, why?: Close) => void): this;
  off(event: 'state', listener?: (state: State, why?: Close) => void): this;
  /** `from: 'page'` hears what happened since the page was made, `'last'` since this tab heard the channel last. */
  subscribe(channel: string, options?: { from?: 'page' | 'last' }): Channel;
  /** Runs it once, after a random part of `spread` milliseconds, however often it is asked to meanwhile. */
  spread(run: () => void): void;
  /** Loads the page again, spread; false: not now (once an hour for a tab, and members' pages only). */
  reload(): boolean;
  close(): void;
}

/** The client of this page: the same for everybody who asks for the same address and key. */
export function connect(options?: PageOptions): Client;
