// SPDX-License-Identifier: Apache-2.0
'use strict';

const { connect, deadline, equal, receive, run } = require('./common');

const VERSIONS = {
	'3.1': { protocolId: 'MQIsdp', protocolVersion: 3, clientId: 'js31' },
	'3.1.1': { protocolVersion: 4 },
	5: { protocolVersion: 5 },
};

async function eachQos(name) {
	const client = await connect(VERSIONS[name]);
	for (const qos of [0, 1, 2]) {
		const topic = `js/${name}/${qos}`;
		const granted = await client.subscribeAsync(topic, { qos });
		equal(granted[0].qos, qos, 'granted QoS');
		// MQTT.js does not heed the broker's Receive Maximum of 20, so this script does.
		for (let first = 0; first < 100; first += 20) {
			const sent = [];
			for (let number = first; number < first + 20; number++) {
				sent.push(client.publishAsync(topic, `message ${number}`, { qos }));
			}
			for (let number = first; number < first + 20; number++) {
				const message = await receive(client);
				equal([message.topic, message.text, message.packet.qos],
					[topic, `message ${number}`, qos], 'message');
			}
			await deadline(Promise.all(sent), 'handshakes');
		}
		await client.unsubscribeAsync(topic);
	}
	await client.endAsync();
}

async function binary() {
	const client = await connect({});
	const bytes = Buffer.alloc(300000);
	for (let index = 0; index < bytes.length; index++) {
		bytes[index] = (index * 7) & 255;
	}
	await client.subscribeAsync('js/binary', { qos: 1 });
	client.publish('js/binary', bytes, { qos: 1 });
	const message = await receive(client);
	equal(Buffer.compare(message.packet.payload, bytes), 0, 'payload');
	await client.endAsync();
}

async function keepAlive() {
	const client = await connect({ keepalive: 1 });
	let answers = 0;
	await new Promise((resolve, reject) => {
		client.on('packetreceive', (packet) => {
			if (packet.cmd === 'pingresp' && ++answers === 2) {
				resolve();
			}
		});
		client.on('close', () => reject(new Error('closed')));
	});
	client.removeAllListeners('close');
	await client.endAsync();
}

run({
	'3.1': () => eachQos('3.1'),
	'3.1.1': () => eachQos('3.1.1'),
	5: () => eachQos('5'),
	binary,
	keepAlive,
});
