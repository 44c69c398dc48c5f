// SPDX-License-Identifier: Apache-2.0
// MQTT.js, off the page's thread: however many messages come, the page has only to draw, and
// timers keep their time while the page is in the background.
//
// In:  {type: connect | disconnect | retry | subscribe | unsubscribe | publish | received, ...}
// Out: {type: 'state', ...} on each change of the connection,
//      {type: 'messages', rows, bytes, lost}, in batches that 'received' answers,
//      {type: 'answer', id, ...} to a subscribe, unsubscribe or publish.
import mqtt from 'mqtt';
import { delay } from './backoff.js';
import { isPassing, reasonOf } from './errors.js';

const CONNECT_TIMEOUT_MS = 10000;
// A connection that does not stand for so long has solved nothing: the waits go on growing.
const STEADY_MS = 10000;
const BATCH_MS = 16;
// What may wait while the page is busy; then the oldest is left out, and counted.
const WAITING_MAX = 20000;
const WAITING_BYTES_MAX = 64 << 20;

let attempt = null;         // the connection that is wanted: see connect()
let waiting = [];
let waitingBytes = 0;
let lost = 0;
let unanswered = 0;
let flushTimer = 0;

function say(message, transfer = []) {
	self.postMessage(message, transfer);
}

// --- messages to the page ------------------------------------------------------------------------

function plainProperties(properties = {}) {
	const { userProperties, correlationData, ...plain } = properties;
	if (correlationData) {
		plain.correlationData = new Uint8Array(correlationData);
	}
	if (userProperties) {
		plain.userProperties = Object.entries(userProperties)
			.flatMap(([name, values]) => [].concat(values).map((value) => [name, value]));
	}
	return plain;
}

function keep(topic, payload, packet) {
	waiting.push({ topic, payload, time: Date.now(), qos: packet.qos, retain: packet.retain,
		dup: packet.dup, properties: packet.properties && plainProperties(packet.properties) });
	waitingBytes += payload.length;
	while (waiting.length > WAITING_MAX || waitingBytes > WAITING_BYTES_MAX && waiting.length > 1) {
		// In one go, since shift() of a long array costs.
		const out = waiting.splice(0, Math.max(1, waiting.length >> 2));
		waitingBytes -= out.reduce((total, message) => total + message.payload.length, 0);
		lost += out.length;
	}
	schedule();
}

function schedule() {
	if (!flushTimer && unanswered < 2 && waiting.length) {
		flushTimer = setTimeout(flush, BATCH_MS);
	}
}

// All payloads of a batch travel in one buffer, which is handed over and not copied again.
function flush() {
	flushTimer = 0;
	if (!waiting.length) {
		return;
	}
	const bytes = new Uint8Array(waitingBytes);
	let at = 0;
	const rows = waiting.map(({ payload, ...row }) => {
		bytes.set(payload, at);
		row.from = at;
		at += payload.length;
		row.to = at;
		return row;
	});
	say({ type: 'messages', rows, bytes: bytes.buffer, lost }, [bytes.buffer]);
	waiting = [];
	waitingBytes = 0;
	lost = 0;
	unanswered++;
}

// --- the connection ------------------------------------------------------------------------------

function tell(state, more = {}) {
	say({ type: 'state', state, ...more });
}

function clientOptions(wanted) {
	const { will } = wanted;
	const options = {
		protocolVersion: wanted.version,
		clientId: wanted.clientId,
		clean: wanted.clean,
		keepalive: wanted.keepAlive,
		username: wanted.username || undefined,
		password: wanted.password || undefined,
		reconnectPeriod: 0,
		resubscribe: false,
		connectTimeout: CONNECT_TIMEOUT_MS,
		timerVariant: 'native',
		createWebsocket: openSocket,
	};
	if (wanted.version === 5 && wanted.sessionExpiry) {
		options.properties = { sessionExpiryInterval: wanted.sessionExpiry };
	}
	if (will) {
		options.will = { topic: will.topic, payload: will.payload, qos: will.qos, retain: will.retain };
		if (wanted.version === 5 && will.delay) {
			options.will.properties = { willDelayInterval: will.delay };
		}
	}
	return options;
}

function openSocket(url, protocols) {
	const socket = new WebSocket(url, protocols);
	const mine = attempt;
	mine.opened = false;
	socket.addEventListener('open', () => {
		mine.opened = true;
	});
	socket.addEventListener('close', (event) => {
		mine.socketCode = event.code;
	});
	return socket;
}

function connect(wanted) {
	drop();
	attempt = { wanted, client: null, tries: 0, timer: 0, fact: null, opened: false,
		connectedAt: 0 };
	tell('connecting', { tries: 0 });
	open(attempt);
}

// A browser refuses some addresses with an exception: no address at all, or ws: on an https page.
function open(mine) {
	mine.fact = null;
	mine.connack = null;
	try {
		if (mine.client) {
			mine.client.reconnect({ incomingStore: mine.client.incomingStore,
				outgoingStore: mine.client.outgoingStore });
			return;
		}
		mine.client = mqtt.connect(mine.wanted.url, clientOptions(mine.wanted));
	} catch (error) {
		mine.client = null;
		const kind = error.name === 'SecurityError' ? 'mixed' : 'address';
		give(mine, { kind, url: mine.wanted.url });
		return;
	}
	listen(mine, mine.client);
}

function listen(mine, client) {
	const current = (handler) => (...args) => {
		if (attempt === mine) {
			handler(...args);
		}
	};
	client.on('packetreceive', current((packet) => {
		if (packet.cmd === 'connack') {
			mine.connack = packet;
		}
	}));
	client.on('connect', current((connack) => {
		mine.connectedAt = performance.now();
		tell('connected', { sessionPresent: connack.sessionPresent,
			properties: plainProperties(connack.properties),
			clientId: connack.properties?.assignedClientIdentifier ?? mine.wanted.clientId });
	}));
	client.on('message', current(keep));
	client.on('disconnect', current((packet) => {
		mine.fact = { kind: 'ended', code: packet.reasonCode,
			reasonString: packet.properties?.reasonString };
	}));
	client.on('error', current((error) => onError(mine, error)));
	client.on('close', current(() => onClose(mine)));
}

function onError(mine, error) {
	const { connack, wanted } = mine;
	const code = connack?.reasonCode ?? connack?.returnCode ?? 0;
	if (code > 0 && !mine.fact) {
		mine.fact = { kind: 'refused', code: reasonOf(code, wanted.version),
			reasonString: connack.properties?.reasonString,
			maximumQos: connack.properties?.maximumQoS };
		mine.client.stream.destroy();
	} else if (/keepalive/i.test(error.message)) {
		mine.fact = { kind: 'keep-alive' };
	}
}

function onClose(mine) {
	let { fact } = mine;
	if (mine.connectedAt && performance.now() - mine.connectedAt > STEADY_MS) {
		mine.tries = 0;
	}
	mine.connectedAt = 0;
	if (!fact && mine.connack) {
		fact = { kind: mine.tries >= 2 ? 'flapping' : 'lost' };
	} else if (!fact && mine.opened) {
		fact = { kind: mine.socketCode === undefined ? 'silent' : 'no-mqtt' };
	}
	fact ??= { kind: 'unreachable' };
	const { url, username, clientId } = mine.wanted;
	fact = { ...fact, url, username, clientId };
	if (isPassing(fact) || fact.kind === 'keep-alive') {
		mine.tries++;
		const wait = delay(mine.tries);
		mine.timer = setTimeout(() => again(mine), wait);
		tell('waiting', { fact, tries: mine.tries, wait });
	} else {
		give(mine, fact);
	}
}

function again(mine) {
	if (attempt === mine) {
		clearTimeout(mine.timer);
		tell('connecting', { tries: mine.tries });
		open(mine);
	}
}

// No further attempt: only a person can mend it.
function give(mine, fact) {
	if (attempt === mine) {
		drop();
		tell('refused', { fact });
	}
}

function drop() {
	const mine = attempt;
	attempt = null;
	if (mine) {
		clearTimeout(mine.timer);
		mine.client?.on('error', () => {});
		mine.client?.end(!mine.client.connected);
	}
}

// --- what the page asks for ----------------------------------------------------------------------

function answer(id, more) {
	say({ type: 'answer', id, ...more });
}

function failure(error, packet) {
	return { ok: false, code: error.code, text: error.message,
		reasonString: packet?.properties?.reasonString };
}

function subscribe({ id, filter, qos, noLocal, retainAsPublished, retainHandling, identifier }) {
	const one = { qos, nl: noLocal, rap: retainAsPublished, rh: retainHandling };
	const options = identifier ? { properties: { subscriptionIdentifier: identifier } } : {};
	attempt.client.subscribe({ [filter]: one, resubscribe: true }, options, (error, granted, packet) => {
		const code = packet?.granted?.[0];
		if (error || code >= 0x80) {
			answer(id, { ...failure(error ?? {}, packet), code });
		} else {
			answer(id, { ok: true, qos: code ?? granted?.[0]?.qos ?? qos });
		}
	});
}

function unsubscribe({ id, filter }) {
	attempt.client.unsubscribe(filter, (error) =>
		answer(id, error ? failure(error) : { ok: true }));
}

function publish({ id, topic, payload, qos, retain, properties }) {
	const started = performance.now();
	const options = { qos, retain, properties };
	attempt.client.publish(topic, payload, options, (error, packet) => {
		answer(id, error ? failure(error, packet) : { ok: true, code: packet?.reasonCode ?? 0,
			ms: performance.now() - started });
	});
}

const ASKED = { subscribe, unsubscribe, publish };

self.onmessage = ({ data }) => {
	if (data.type in ASKED) {
		if (attempt?.client?.connected) {
			ASKED[data.type](data);
		} else {
			answer(data.id, { ok: false, text: 'not connected' });
		}
	} else if (data.type === 'received') {
		unanswered--;
		schedule();
	} else if (data.type === 'connect') {
		connect(data.wanted);
	} else if (data.type === 'retry' && attempt) {
		again(attempt);
	} else if (data.type === 'disconnect') {
		drop();
		tell('offline');
	}
};
