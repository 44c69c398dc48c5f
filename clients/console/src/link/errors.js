// SPDX-License-Identifier: Apache-2.0
// What went wrong, why that may be, and what to do: {title, text, link}, for the place where it
// happened.

const REASONS = {
	0x80: 'Unspecified error', 0x81: 'Malformed packet', 0x82: 'Protocol error',
	0x83: 'Implementation specific error', 0x84: 'Unsupported protocol version',
	0x85: 'Client id not valid', 0x86: 'Bad user name or password', 0x87: 'Not authorised',
	0x88: 'Server unavailable', 0x89: 'Server busy', 0x8a: 'Banned', 0x8b: 'Server shutting down',
	0x8c: 'Bad authentication method', 0x8d: 'Keep alive timeout', 0x8e: 'Session taken over',
	0x8f: 'Topic filter invalid', 0x90: 'Topic name invalid', 0x93: 'Receive maximum exceeded',
	0x94: 'Topic alias invalid', 0x95: 'Packet too large', 0x96: 'Message rate too high',
	0x97: 'Quota exceeded', 0x98: 'Administrative action', 0x99: 'Payload format invalid',
	0x9a: 'Retain not supported', 0x9b: 'QoS not supported', 0x9c: 'Use another server',
	0x9d: 'Server moved', 0x9e: 'Shared subscriptions not supported',
	0x9f: 'Connection rate exceeded', 0xa0: 'Maximum connect time',
	0xa1: 'Subscription identifiers not supported', 0xa2: 'Wildcard subscriptions not supported',
};

// CONNACK codes of 3.1.1 under the Reason Code of version 5 that means the same.
const OLD_CODES = { 1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87 };
// Refusals that a later attempt may get over.
const PASSING = new Set([0x88, 0x89, 0x8b, 0x96, 0x97, 0x9f, 0xa0]);

export function reasonOf(code, version) {
	return version === 5 ? code : (OLD_CODES[code] ?? 0x80);
}

export function reasonText(code) {
	return REASONS[code] ?? `Reason code 0x${code.toString(16).padStart(2, '0')}`;
}

// Whether to try again by oneself after such an end.
export function isPassing(fact) {
	if (fact.kind === 'refused' || fact.kind === 'ended') {
		return PASSING.has(fact.code) || fact.kind === 'ended' && fact.code === 0x8d;
	}
	return ['unreachable', 'lost', 'flapping', 'silent', 'no-mqtt'].includes(fact.kind);
}

function credentials({ username }) {
	return username
		? `The broker does not know “${username}” with this password. Check both; the broker reads ` +
			'its password_file again when it is reloaded.'
		: 'This broker wants a user name and a password (or allow_anonymous true on its listener).';
}

const REFUSED = {
	0x84: () => 'This broker does not speak the chosen version of MQTT. Try the other one above.',
	0x85: ({ clientId }) => clientId
		? `The broker does not accept the client id “${clientId}”. Choose another one.`
		: 'The broker wants a client id for this kind of session. Enter one above.',
	0x86: credentials,
	0x87: ({ username }) => username
		? `“${username}” may not connect: the password may be wrong, or this client is not allowed on ` +
			'this listener.'
		: credentials({}),
	0x88: () => 'The broker is there but takes nobody at the moment.',
	0x89: () => 'The broker has as many connections as it may have.',
	0x8a: () => 'The broker has banned this client.',
	0x8c: () => 'The broker wants an authentication method that this page does not have.',
	0x95: () => 'The CONNECT packet is larger than the broker accepts; a will payload may be too big.',
	0x97: () => 'The broker has reached one of its limits.',
	0x9a: () => 'The broker keeps no retained messages, and the will is to be retained.',
	0x9b: ({ maximumQos }) => `The broker offers the will QoS ${maximumQos ?? 0} at most.`,
	0x9f: () => 'Too many connections came at once.',
};

function refused(fact) {
	const text = REFUSED[fact.code]?.(fact) ?? 'The broker refused the connection.';
	const title = { 0x86: 'Wrong user name or password',
		0x87: fact.username ? 'Not authorised' : 'User name and password needed' }[fact.code];
	return { title: title ?? reasonText(fact.code), text };
}

const ENDED = {
	0x8b: 'The broker is stopping or restarting.',
	0x8d: 'The broker heard nothing for one and a half keep alive intervals; this computer may have slept.',
	0x8e: 'Another client connected with the same client id and took the session over. Choose another ' +
		'client id, or connect again to take it back.',
	0x95: 'A packet was larger than the broker accepts.',
	0x96: 'Messages came faster than the broker accepts.',
	0x97: 'A limit of the broker was met.',
	0x98: 'Somebody who runs the broker ended this connection.',
};

function ended(fact) {
	return { title: reasonText(fact.code), text: ENDED[fact.code] ?? 'The broker ended the connection.' };
}

function placeOf(url) {
	try {
		const { hostname, port, protocol } = new URL(url);
		return { host: hostname, port: port || (protocol === 'wss:' ? '443' : '80'),
			secure: protocol === 'wss:' };
	} catch {
		return { host: url, port: '', secure: false };
	}
}

// httpAnswers: whether the same host and port answered a plain HTTP request, null if not known.
function unreachable({ url, httpAnswers }) {
	const { host, port, secure } = placeOf(url);
	if (httpAnswers) {
		return { title: 'No WebSocket here', text: `${host}:${port} answers HTTP but did not open a ` +
			'WebSocket. The listener may not serve WebSocket, may not accept pages from this origin ' +
			'(websockets_origin), or may have as many connections as it may have.' };
	}
	if (secure && httpAnswers === null) {
		const link = `https://${host}:${port}/`;
		return { title: 'Broker away, or certificate not trusted', link,
			text: 'A browser does not tell a page which. Open the address below in a new tab: if the ' +
				'browser warns of the certificate, accept it there or install the authority that issued ' +
				'it, then connect again. If nothing answers, the broker is not running.' };
	}
	return { title: 'The broker does not answer', text: `Nothing answers on ${host}, port ${port}. Is ` +
		'the broker running, does a firewall stand in between, and does this port serve WebSocket?' };
}

const OTHER = {
	unreachable,
	refused,
	ended,
	lost: () => ({ title: 'Connection lost', text: 'The broker or the network went away without a word.' }),
	flapping: ({ clientId }) => ({ title: 'Connection lost again', text: 'The connection ends as soon as ' +
		`it stands. Another client may be using the client id “${clientId}”; choose another one.` }),
	silent: ({ url }) => ({ title: 'No answer', text: `${placeOf(url).host} took the connection but did not ` +
		'answer the CONNECT in time.' }),
	'no-mqtt': () => ({ title: 'Closed before an answer', text: 'The other side opened a WebSocket and ' +
		'closed it without answering the CONNECT. Is there an MQTT broker behind this address and path?' }),
	'keep-alive': () => ({ title: 'Keep alive timeout', text: 'The broker did not answer a ping in time.' }),
	mixed: ({ url }) => ({ title: 'A secure page needs a secure address', text: 'This page came over ' +
		`https, so the browser does not allow ${url}. Use an address that starts with wss://.` }),
	address: ({ url }) => ({ title: 'Not an address', text: `“${url}” is no WebSocket address. One reads ` +
		'ws://HOST:PORT/mqtt, or wss://… with TLS.' }),
};

export function explain(fact) {
	const found = (OTHER[fact.kind] ?? OTHER.lost)(fact);
	return fact.reasonString ? { ...found, text: `${found.text} It said: “${fact.reasonString}”` } : found;
}

// Why a SUBSCRIBE was refused.
export function explainSubscribe(code, filter, reasonString = '') {
	const texts = {
		0x87: `This user may not read ${filter}. In the broker's acl_file, a line such as ` +
			`“topic read ${filter}” allows it.`,
		0x8f: 'The broker does not accept this Topic Filter.',
		0x97: 'The broker allows no further subscription.',
		0x9e: 'This broker has no shared subscriptions.',
		0xa1: 'This broker has no subscription identifiers.',
		0xa2: 'This broker has no wildcards in subscriptions.',
		// All that version 3.1.1 can say.
		0x80: `The broker refused it; most often because this user may not read ${filter} (acl_file).`,
	};
	const text = texts[code] ?? 'The broker refused the subscription.';
	return { title: code === 0x80 ? 'Refused' : reasonText(code),
		text: reasonString ? `${text} It said: “${reasonString}”` : text };
}

// Why a PUBLISH was refused.
export function explainPublish(code, topic, reasonString = '') {
	const texts = {
		0x87: `This user may not write to ${topic}. In the broker's acl_file, a line such as ` +
			`“topic write ${topic}” allows it.`,
		0x90: 'The broker does not accept this Topic Name.',
		0x95: 'The message is larger than the broker accepts (max_packet_size).',
		0x97: 'The broker has no room to keep this message.',
		0x99: 'The payload is not UTF-8, although the message says so.',
		0x9a: 'This broker keeps no retained messages.',
		0x9b: 'This broker does not offer this QoS.',
	};
	const text = texts[code] ?? 'The broker refused the message.';
	return { title: reasonText(code), text: reasonString ? `${text} It said: “${reasonString}”` : text };
}
