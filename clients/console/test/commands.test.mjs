// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import test from 'node:test';
import { grouped, guessTarget, mosquittoPub, mosquittoSub, scriptPub, scriptString, scriptSub, shellWord }
	from '../src/lib/commands.js';

const UTF8 = new TextEncoder();
const LOCAL = { host: 'localhost', port: '1883', tls: false };
const ANYONE = { version: 5, clean: true, clientId: 'c1', username: '', password: '' };

// The words that a real shell makes of a command: the program is replaced by one that prints them.
function wordsOf(command, variables = {}) {
	const script = `mosquitto_pub() { printf '%s\\0' "$@"; cat >&2 <&0; }; mosquitto_sub() { printf '%s\\0' "$@"; }
${command}`;
	const out = execFileSync('sh', ['-c', script], { env: { ...process.env, ...variables }, input: '',
		stdio: ['pipe', 'pipe', 'ignore'] });
	return out.toString().split('\0').slice(0, -1);
}

function valueOf(words, option) {
	return words[words.indexOf(option) + 1];
}

// The arguments of the calls in a script, which is run with a client that notes them.
async function callsOf(source) {
	const calls = [];
	const client = { on: () => {} };
	for (const name of ['publishAsync', 'subscribeAsync', 'endAsync']) {
		client[name] = async (...given) => calls.push([name, ...given]);
	}
	const mqtt = { connectAsync: async (...given) => {
		calls.push(['connectAsync', ...given]);
		return client;
	} };
	const body = source.replace(/^import .*\n/, '');
	const AsyncFunction = (async () => {}).constructor;
	await new AsyncFunction('mqtt', 'process', 'Buffer', body)(mqtt,
		{ env: { MQTT_PASSWORD: 'secret' } }, Buffer);
	return calls;
}

const NASTY = ["it's", 'a "b" $HOME `id` \\ !x', 'two\nlines', '-starts', '', ' ', 'ünï →', '$(reboot)',
	"'", "''\\''", '*', '~', '#', 'a;b&c|d', 'tab\there'];

test('a shell gets every word as it was', () => {
	for (const text of NASTY) {
		const out = execFileSync('sh', ['-c', `printf %s ${shellWord(text)}`]).toString();
		assert.equal(out, text);
	}
});

test('plain words are not quoted', () => {
	assert.equal(shellWord('sensors/kitchen'), 'sensors/kitchen');
	assert.equal(shellWord('$SYS/#'), "'$SYS/#'");
});

test('JavaScript gets every string as it was', () => {
	for (const text of [...NASTY, '\u2028', '\0', '</script>', '${x}']) {
		assert.equal(new Function(`return ${scriptString(text)}`)(), text);
	}
});

test('mosquitto_pub gets topic, payload and properties', () => {
	for (const text of NASTY.filter((one) => one !== '')) {
		const words = wordsOf(mosquittoPub(ANYONE, { topic: `a/${text}`, payload: UTF8.encode(text), qos: 1,
			retain: true, properties: { contentType: text, userProperties: [['k', text], ['k', '2']] } }, LOCAL));
		assert.equal(valueOf(words, '-t'), `a/${text}`);
		assert.equal(valueOf(words, '-m'), text);
		assert.equal(valueOf(words, '-q'), '1');
		assert.ok(words.includes('-r'));
		assert.deepEqual(words.slice(words.indexOf('-D'), words.indexOf('-D') + 4), ['-D', 'publish', 'content-type', text]);
		assert.equal(words.filter((word) => word === 'user-property').length, 2);
	}
});

test('an empty payload is -n', () => {
	const words = wordsOf(mosquittoPub(ANYONE, { topic: 'a', payload: new Uint8Array(), qos: 0, retain: true }, LOCAL));
	assert.ok(words.includes('-n') && !words.includes('-m'));
});

test('bytes that are no text go through printf', () => {
	const bytes = Uint8Array.from({ length: 256 }, (_x, index) => index);
	const command = mosquittoPub(ANYONE, { topic: 'a', payload: bytes, qos: 0, retain: false }, LOCAL);
	const got = execFileSync('sh', ['-c', `mosquitto_pub() { cat; }\n${command}`]);
	assert.deepEqual(new Uint8Array(got), bytes);
});

test('version 3.1.1 has no properties', () => {
	const words = wordsOf(mosquittoPub({ ...ANYONE, version: 4 }, { topic: 'a', payload: UTF8.encode('x'), qos: 0,
		retain: false, properties: { contentType: 'x' } }, LOCAL));
	assert.ok(!words.includes('-D'));
	assert.equal(valueOf(words, '-V'), 'mqttv311');
});

test('mosquitto_sub gets filter, session and target', () => {
	const words = wordsOf(mosquittoSub({ ...ANYONE, clean: false, sessionExpiry: 300, clientId: "o'c" },
		{ filter: '$share/g/a b/#', qos: 2, retainAsPublished: true }, { host: 'mq.example', port: '8883', tls: true }));
	assert.equal(valueOf(words, '-t'), '$share/g/a b/#');
	assert.equal(valueOf(words, '-h'), 'mq.example');
	assert.equal(valueOf(words, '-p'), '8883');
	assert.equal(valueOf(words, '-i'), "o'c");
	assert.equal(valueOf(words, '-x'), '300');
	for (const flag of ['-c', '-v', '--tls-use-os-certs', '--retain-as-published']) {
		assert.ok(words.includes(flag), flag);
	}
});

test('no command holds the password', () => {
	const someone = { ...ANYONE, username: 'alice', password: 'hunter2' };
	const subscription = { filter: 'a', qos: 0 };
	const publication = { topic: 'a', payload: UTF8.encode('x'), qos: 0, retain: false };
	const texts = [mosquittoSub(someone, subscription, LOCAL), mosquittoPub(someone, publication, LOCAL),
		scriptSub(someone, subscription, 'ws://h/'), scriptPub(someone, publication, 'ws://h/')];
	for (const text of texts) {
		assert.ok(!text.includes('hunter2'));
		assert.ok(text.includes('MQTT_PASSWORD'));
	}
	assert.equal(valueOf(wordsOf(texts[0], { MQTT_PASSWORD: 'a b' }), '-P'), 'a b');
});

test('long commands are broken between options', () => {
	const command = mosquittoPub({ ...ANYONE, username: 'somebody' }, { topic: 'a/'.repeat(30), qos: 0,
		payload: UTF8.encode('x'.repeat(60)), retain: false }, { host: 'a.long.host.name.example', port: '11883' });
	assert.ok(command.split('\n').length > 1);
	assert.equal(valueOf(wordsOf(command), '-m'), 'x'.repeat(60));
});

test('a script for MQTT.js subscribes with all options', async () => {
	const calls = await callsOf(scriptSub({ ...ANYONE, clean: false, sessionExpiry: 60, username: "o'b", password: 'x' },
		{ filter: "it's/#", qos: 2, noLocal: true, retainHandling: 2 }, 'wss://h:1/mqtt'));
	assert.deepEqual(calls[0], ['connectAsync', 'wss://h:1/mqtt', { protocolVersion: 5, username: "o'b",
		password: 'secret', clientId: 'c1', clean: false, properties: { sessionExpiryInterval: 60 } }]);
	assert.deepEqual(calls[1], ['subscribeAsync', "it's/#", { qos: 2, nl: true, rh: 2 }]);
});

test('a script for MQTT.js publishes text and bytes', async () => {
	const properties = { contentType: 'a/b', correlationData: Uint8Array.of(1, 255),
		userProperties: [['a', '1'], ['a', '2'], ["b'", '3']] };
	const calls = await callsOf(scriptPub(ANYONE, { topic: 't', payload: UTF8.encode('x\ny'), qos: 1, retain: true, properties }, 'ws://h/'));
	assert.deepEqual(calls[1], ['publishAsync', 't', 'x\ny', { qos: 1, retain: true, properties: {
		contentType: 'a/b', correlationData: Buffer.of(1, 255), userProperties: { a: ['1', '2'], "b'": '3' } } }]);
	const binary = await callsOf(scriptPub(ANYONE, { topic: 't', payload: Uint8Array.of(0, 200), qos: 0, retain: false }, 'ws://h/'));
	assert.deepEqual(binary[1][2], Buffer.of(0, 200));
});

test('the port of MQTT is guessed from that of the page', () => {
	assert.deepEqual(guessTarget('ws://127.0.0.1:1883/mqtt'), { host: '127.0.0.1', port: '1883', tls: false });
	assert.deepEqual(guessTarget('ws://h:9001/'), { host: 'h', port: '1883', tls: false });
	assert.deepEqual(guessTarget('wss://h/mqtt'), { host: 'h', port: '8883', tls: true });
	assert.deepEqual(guessTarget('wss://[::1]:8883/mqtt'), { host: '::1', port: '8883', tls: true });
});

test('user properties of one name are grouped', () => {
	assert.deepEqual(grouped([['a', '1'], ['b', '2'], ['a', '3']]), { a: ['1', '3'], b: '2' });
	assert.deepEqual(grouped([['__proto__', 'x']])['__proto__'], 'x');
});
