// SPDX-License-Identifier: Apache-2.0
'use strict';

const { connect, deadline, equal, receive, run } = require('./common');

function closed(client) {
	return deadline(new Promise((resolve) => client.once('close', resolve)), 'the end');
}

async function persistent(version) {
	const options = { protocolVersion: version, clientId: `js-session-${version}`, clean: false };
	if (version === 5) {
		options.properties = { sessionExpiryInterval: 300 };
	}
	const first = await connect(options);
	equal(first.connack.sessionPresent, false, 'session present');
	await first.subscribeAsync(`session/${version}`, { qos: 2 });
	await first.endAsync();
	const writer = await connect({});
	for (let number = 0; number < 10; number++) {
		await writer.publishAsync(`session/${version}`, String(number), { qos: 1 + (number % 2) });
	}
	const second = await connect(options);
	equal(second.connack.sessionPresent, true, 'session present');
	const got = [];
	while (got.length < 10) {
		got.push(Number((await receive(second)).text));
	}
	equal(got.sort(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 'messages');
	await second.endAsync();
	await writer.endAsync();
}

async function cleanStartForgets() {
	const id = { clientId: 'js-forget' };
	const first = await connect({ ...id, clean: false });
	await first.subscribeAsync('forget', { qos: 1 });
	await first.endAsync();
	const second = await connect({ ...id, clean: true });
	equal(second.connack.sessionPresent, false, 'session present');
	await second.endAsync();
}

async function will() {
	const watcher = await connect({});
	await watcher.subscribeAsync('js-will', { qos: 1 });
	const dying = await connect({
		will: { topic: 'js-will', payload: Buffer.from('gone'), qos: 1, retain: true },
	});
	dying.stream.destroy();
	equal((await receive(watcher)).text, 'gone', 'will');
	const late = await connect({});
	await late.subscribeAsync('js-will', { qos: 1 });
	const kept = await receive(late);
	equal([kept.text, kept.packet.retain], ['gone', true], 'retained will');
	await late.publishAsync('js-will', '', { qos: 1, retain: true });
	await Promise.all([watcher.endAsync(), late.endAsync()]);
}

async function takeover() {
	const first = await connect({ clientId: 'js-same', protocolVersion: 5 });
	let reason = null;
	first.on('disconnect', (packet) => { reason = packet.reasonCode; });
	const ended = closed(first);
	const second = await connect({ clientId: 'js-same', protocolVersion: 5 });
	await ended;
	equal(reason, 0x8e, 'reason');
	await second.endAsync();
}

// MQTT.js sends again by itself what was not acknowledged when its connection broke.
async function reconnects() {
	const reader = await connect({});
	await reader.subscribeAsync('js-again', { qos: 2 });
	const writer = await connect({
		clientId: 'js-writer', clean: false, reconnectPeriod: 20, protocolVersion: 4,
	});
	const sent = [];
	for (let number = 0; number < 60; number++) {
		sent.push(writer.publishAsync('js-again', String(number), { qos: 2 }));
		if (number % 20 === 10) {
			writer.stream.destroy();
			await deadline(new Promise((resolve) => writer.once('connect', resolve)), 'reconnect');
		}
	}
	await deadline(Promise.all(sent), 'handshakes');
	const got = [];
	while (got.length < 60) {
		got.push(Number((await receive(reader)).text));
	}
	equal([...new Set(got)].length, 60, 'distinct messages');
	await Promise.all([reader.endAsync(), writer.endAsync()]);
}

run({
	'persistent 3.1.1': () => persistent(4),
	'persistent 5': () => persistent(5),
	cleanStartForgets,
	will,
	takeover,
	reconnects,
});
