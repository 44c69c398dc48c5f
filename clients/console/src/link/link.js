// SPDX-License-Identifier: Apache-2.0
// The page's side of worker.js: the state of the connection, and promises for what one asks of it.
//
// Events: 'state' after each change (link.state, link.now), 'messages' with a batch.

const STATES = { offline: 'Not connected', connecting: 'Connecting', connected: 'Connected',
	waiting: 'Reconnecting', refused: 'Not connected' };

class Link extends EventTarget {
	constructor() {
		super();
		// offline | connecting | connected | waiting | refused
		this.state = 'offline';
		this.now = {};
		this.wanted = null;
		this.since = 0;
		this.questions = new Map();
		this.lastId = 0;
		this.worker = new Worker(new URL(WORKER_FILE, document.baseURI));
		this.worker.onmessage = ({ data }) => this.hear(data);
	}

	get text() {
		return STATES[this.state];
	}

	get isConnected() {
		return this.state === 'connected';
	}

	connect(wanted) {
		this.wanted = wanted;
		this.worker.postMessage({ type: 'connect', wanted });
	}

	disconnect() {
		this.worker.postMessage({ type: 'disconnect' });
	}

	retry() {
		this.worker.postMessage({ type: 'retry' });
	}

	// Resolves to {ok: true, ...} or {ok: false, code, text, reasonString}.
	ask(type, more) {
		const id = ++this.lastId;
		this.worker.postMessage({ type, id, ...more });
		return new Promise((resolve) => this.questions.set(id, resolve));
	}

	hear(data) {
		if (data.type === 'messages') {
			this.dispatchEvent(new MessageEvent('messages', { data }));
			this.worker.postMessage({ type: 'received' });
		} else if (data.type === 'answer') {
			this.questions.get(data.id)?.(data);
			this.questions.delete(data.id);
		} else {
			this.become(data);
		}
	}

	async become(told) {
		const { fact } = told;
		if (fact?.kind === 'unreachable') {
			fact.httpAnswers = await httpAnswers(fact.url);
		}
		this.state = told.state;
		this.now = told;
		this.since = Date.now();
		if (told.state !== 'connected') {
			this.giveUpQuestions();
		}
		this.dispatchEvent(new Event('state'));
	}

	// Answers belong to a connection; with it they are lost.
	giveUpQuestions() {
		for (const resolve of this.questions.values()) {
			resolve({ ok: false, text: 'the connection ended before the broker answered' });
		}
		this.questions.clear();
	}
}

// Whether the broker's own address answers HTTP; null for any other, which a page may not ask.
async function httpAnswers(url) {
	const { host, protocol } = new URL(url);
	const secure = protocol === 'wss:';
	if (host !== location.host || secure !== (location.protocol === 'https:')) {
		return null;
	}
	try {
		await fetch('healthz', { cache: 'no-store', signal: AbortSignal.timeout(3000) });
		return true;
	} catch {
		return false;
	}
}

export const link = new Link();
