// SPDX-License-Identifier: Apache-2.0
// The same subscription or publication as a command line, or as a program.
//
// A password never appears in them: they name the variable MQTT_PASSWORD instead.
import { hexOf, textOf } from './payload.js';

// A word for a POSIX shell.
export function shellWord(text) {
	if (text !== '' && /^[\w@%+=:,./-]+$/.test(text)) {
		return text;
	}
	return `'${text.replaceAll("'", "'\\''")}'`;
}

// A string of JavaScript, with single quotes.
export function scriptString(text) {
	// eslint-disable-next-line no-control-regex
	const escaped = text.replace(/[\\'\0-\x1f\x7f\u2028\u2029]/g, (char) => {
		const short = { '\\': '\\\\', "'": "\\'", '\n': '\\n', '\r': '\\r', '\t': '\\t' }[char];
		return short ?? `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
	});
	return `'${escaped}'`;
}

// A value as source text: objects and arrays on one line where they fit.
function scriptValue(value, indent = '') {
	if (typeof value === 'string') {
		return scriptString(value);
	}
	if (value instanceof Uint8Array) {
		return `Buffer.from('${hexOf(value).replaceAll(' ', '')}', 'hex')`;
	}
	if (value instanceof Source) {
		return value.text;
	}
	if (Array.isArray(value)) {
		return `[${value.map((item) => scriptValue(item)).join(', ')}]`;
	}
	if (typeof value !== 'object') {
		return String(value);
	}
	const inner = `${indent}  `;
	const parts = Object.entries(value).map(([key, item]) =>
		`${/^[A-Za-z_$][\w$]*$/.test(key) ? key : scriptString(key)}: ${scriptValue(item, inner)}`);
	const line = `{ ${parts.join(', ')} }`;
	if (parts.length === 0) {
		return '{}';
	}
	return line.length <= 72 && !line.includes('\n') ? line
		: `{\n${parts.map((part) => `${inner}${part},\n`).join('')}${indent}}`;
}

class Source {
	constructor(text) {
		this.text = text;
	}
}

// Ports that serve WebSocket by custom, beside which MQTT has its own.
const WEB_PORTS = new Set(['80', '443', '8000', '8080', '8081', '8083', '8084', '8443', '8884',
	'8888', '9001', '9002', '15675']);

// Where a command line client finds the broker that the page reaches at url: {host, port, tls}.
// With one port for everything it is the same port.
export function guessTarget(url) {
	const { hostname, port, protocol } = new URL(url);
	const tls = protocol === 'wss:';
	const given = port || (tls ? '443' : '80');
	const custom = tls ? '8883' : '1883';
	return { host: hostname.replace(/^\[|\]$/g, ''), tls, port: WEB_PORTS.has(given) ? custom : given };
}

function commonWords(connection, target) {
	const words = [];
	if (target.host !== 'localhost') {
		words.push('-h', shellWord(target.host));
	}
	if (target.port !== '1883' || target.tls) {
		words.push('-p', shellWord(target.port));
	}
	if (target.tls) {
		words.push('--tls-use-os-certs');
	}
	words.push('-V', connection.version === 5 ? 'mqttv5' : 'mqttv311');
	if (connection.username) {
		words.push('-u', shellWord(connection.username));
	}
	if (connection.password) {
		words.push('-P', '"$MQTT_PASSWORD"');
	}
	return words;
}

// A command on several lines where it is long: broken before options, never inside a word.
function layOut(program, words) {
	const units = [];
	for (const word of words) {
		if (word.startsWith('-') && word.length > 1 || units.length === 0) {
			units.push(word);
		} else {
			units[units.length - 1] += ` ${word}`;
		}
	}
	const line = [program, ...units].join(' ');
	if (line.length <= 80) {
		return line;
	}
	const lines = [program];
	for (const unit of units) {
		const last = lines[lines.length - 1];
		if (last.length + unit.length < 76) {
			lines[lines.length - 1] = `${last} ${unit}`;
		} else {
			lines.push(`  ${unit}`);
		}
	}
	return lines.join(' \\\n');
}

function sessionWords(connection) {
	if (connection.clean) {
		return [];
	}
	const words = ['-i', shellWord(connection.clientId), '-c'];
	if (connection.version === 5 && connection.sessionExpiry) {
		words.push('-x', String(connection.sessionExpiry));
	}
	return words;
}

// subscription: {filter, qos, noLocal, retainAsPublished, retainHandling}
export function mosquittoSub(connection, subscription, target) {
	const asPublished = connection.version === 5 && subscription.retainAsPublished;
	return layOut('mosquitto_sub', [...commonWords(connection, target), ...sessionWords(connection),
		...(asPublished ? ['--retain-as-published'] : []),
		'-q', String(subscription.qos), '-t', shellWord(subscription.filter), '-v']);
}

function propertyWords(properties) {
	const words = [];
	const add = (name, ...values) => words.push('-D', `publish ${name} ${values.map(shellWord).join(' ')}`);
	if (properties.contentType) {
		add('content-type', properties.contentType);
	}
	if (properties.responseTopic) {
		add('response-topic', properties.responseTopic);
	}
	if (properties.correlationData?.length) {
		add('correlation-data', textOf(properties.correlationData) ?? '');
	}
	if (properties.messageExpiryInterval !== undefined) {
		add('message-expiry-interval', String(properties.messageExpiryInterval));
	}
	if (properties.payloadFormatIndicator) {
		add('payload-format-indicator', '1');
	}
	for (const [name, value] of properties.userProperties ?? []) {
		add('user-property', name, value);
	}
	return words;
}

// For printf, which knows octal escapes in every shell.
function printfWord(bytes) {
	let text = '';
	for (const byte of bytes) {
		text += /[\w .,:;{}"[\]/+=-]/.test(String.fromCharCode(byte)) && byte < 128
			? String.fromCharCode(byte) : `\\${byte.toString(8).padStart(3, '0')}`;
	}
	return `'${text}'`;
}

// publication: {topic, payload (bytes), qos, retain, properties}
export function mosquittoPub(connection, publication, target) {
	const words = [...commonWords(connection, target), '-q', String(publication.qos)];
	if (publication.retain) {
		words.push('-r');
	}
	words.push('-t', shellWord(publication.topic));
	if (connection.version === 5) {
		words.push(...propertyWords(publication.properties ?? {}));
	}
	const text = textOf(publication.payload);
	if (publication.payload.length === 0) {
		return layOut('mosquitto_pub', [...words, '-n']);
	}
	if (text !== null) {
		return layOut('mosquitto_pub', [...words, `-m ${shellWord(text)}`]);
	}
	return `printf ${printfWord(publication.payload)} | \\\n${layOut('mosquitto_pub', [...words, '-s'])}`;
}

function scriptConnect(connection, url) {
	const options = { protocolVersion: connection.version };
	if (connection.username) {
		options.username = connection.username;
	}
	if (connection.password) {
		options.password = new Source('process.env.MQTT_PASSWORD');
	}
	if (!connection.clean) {
		options.clientId = connection.clientId;
		options.clean = false;
		if (connection.version === 5 && connection.sessionExpiry) {
			options.properties = { sessionExpiryInterval: connection.sessionExpiry };
		}
	}
	return [`import mqtt from 'mqtt';`, '', call('const client = await mqtt.connectAsync', url, options)];
}

// A call on one line, or with an argument a line where that is too long.
function call(head, ...values) {
	const line = `${head}(${values.map((value) => scriptValue(value)).join(', ')});`;
	return line.length <= 78 && !line.includes('\n') ? line
		: `${head}(\n${values.map((value) => `  ${scriptValue(value, '  ')},\n`).join('')});`;
}

export function scriptSub(connection, subscription, url) {
	const options = { qos: subscription.qos };
	if (connection.version === 5) {
		Object.assign(options, subscription.noLocal && { nl: true },
			subscription.retainAsPublished && { rap: true },
			subscription.retainHandling && { rh: subscription.retainHandling });
	}
	return [...scriptConnect(connection, url),
		`client.on('message', (topic, payload) => console.log(topic, payload.toString()));`,
		call('await client.subscribeAsync', subscription.filter, options)].join('\n');
}

export function scriptPub(connection, publication, url) {
	const options = { qos: publication.qos };
	if (publication.retain) {
		options.retain = true;
	}
	if (connection.version === 5) {
		const properties = { ...publication.properties };
		if (properties.userProperties?.length) {
			properties.userProperties = grouped(properties.userProperties);
		} else {
			delete properties.userProperties;
		}
		if (Object.keys(properties).length) {
			options.properties = properties;
		}
	}
	const text = textOf(publication.payload);
	return [...scriptConnect(connection, url),
		call('await client.publishAsync', publication.topic, text ?? publication.payload, options),
		'await client.endAsync();'].join('\n');
}

// [[name, value], ...] as MQTT.js takes them: a name that comes twice has an array.
export function grouped(pairs) {
	const names = new Map();
	for (const [name, value] of pairs) {
		names.set(name, names.has(name) ? [].concat(names.get(name), value) : value);
	}
	return Object.fromEntries(names);
}
