// SPDX-License-Identifier: Apache-2.0
'use strict';

const { connect, deadline, equal, receive, run } = require('./common');

function connect5(options) {
	return connect({ protocolVersion: 5, ...options });
}

async function properties() {
	const reader = await connect5({});
	await reader.subscribeAsync('js5/props', { qos: 1, properties: { subscriptionIdentifier: 77 } });
	const writer = await connect5({});
	await writer.publishAsync('js5/props', 'body', {
		qos: 1,
		properties: {
			payloadFormatIndicator: true,
			messageExpiryInterval: 500,
			contentType: 'text/plain',
			responseTopic: 'js5/back',
			correlationData: Buffer.from('c7'),
			userProperties: { one: ['1', '2'], two: '3' },
		},
	});
	const { packet } = await receive(reader);
	const got = packet.properties;
	equal([got.contentType, got.responseTopic, got.correlationData.toString(),
		got.payloadFormatIndicator, got.subscriptionIdentifier],
	['text/plain', 'js5/back', 'c7', true, 77], 'properties');
	equal(got.userProperties, { one: ['1', '2'], two: '3' }, 'user properties');
	equal(got.messageExpiryInterval > 400 && got.messageExpiryInterval <= 500, true, 'expiry');
	await Promise.all([reader.endAsync(), writer.endAsync()]);
}

async function requestResponse() {
	const server = await connect5({});
	await server.subscribeAsync('js5/ask', { qos: 1 });
	server.on('message', (topic, payload, packet) => {
		const { responseTopic, correlationData } = packet.properties;
		server.publish(responseTopic, `answer to ${payload}`, { qos: 1, properties: { correlationData } });
	});
	const client = await connect5({});
	await client.subscribeAsync('js5/answers', { qos: 1 });
	for (let number = 0; number < 5; number++) {
		client.publish('js5/ask', String(number), {
			qos: 1,
			properties: { responseTopic: 'js5/answers', correlationData: Buffer.from([number]) },
		});
		const answer = await receive(client);
		equal([answer.text, answer.packet.properties.correlationData[0]],
			[`answer to ${number}`, number], 'answer');
	}
	await Promise.all([server.endAsync(), client.endAsync()]);
}

async function topicAliases() {
	const reader = await connect5({ properties: { topicAliasMaximum: 5 } });
	await reader.subscribeAsync('js5/alias/#', { qos: 1 });
	const writer = await connect5({ autoAssignTopicAlias: true, autoUseTopicAlias: true });
	for (let number = 0; number < 40; number++) {
		const topic = `js5/alias/${number % 8}`;
		await writer.publishAsync(topic, String(number), { qos: 1 });
		const message = await receive(reader);
		equal([message.topic, message.text], [topic, String(number)], 'message');
	}
	await Promise.all([reader.endAsync(), writer.endAsync()]);
}

async function sharedGroup() {
	const members = [await connect5({}), await connect5({}), await connect({ protocolVersion: 4 })];
	for (const member of members) {
		await member.subscribeAsync('$share/js/js5/jobs', { qos: 1 });
	}
	const writer = await connect5({});
	for (let number = 0; number < 60; number++) {
		await writer.publishAsync('js5/jobs', String(number), { qos: 1 });
	}
	const got = [];
	await deadline((async () => {
		while (got.length < 60) {
			for (const member of members) {
				got.push(...member.inbox.splice(0).map((message) => message.text));
			}
			await new Promise((resolve) => setTimeout(resolve, 5));
		}
	})(), 'all jobs');
	equal([...new Set(got)].length, 60, 'distinct jobs');
	await Promise.all([...members, writer].map((client) => client.endAsync()));
}

async function refusals() {
	const client = await connect5({});
	let code = null;
	client.on('error', () => {});
	client.on('disconnect', (packet) => { code = packet.reasonCode; });
	const ended = new Promise((resolve) => client.once('close', resolve));
	client.stream.write(Buffer.from([0x36, 0x03, 0x00, 0x01, 0x61]));	// QoS 3
	await deadline(ended, 'the end');
	equal(code, 0x81, 'Malformed Packet');
}

async function serverSide() {
	const client = await connect5({ clientId: '' });
	const given = client.connack.properties;
	equal(typeof given.assignedClientIdentifier, 'string', 'assigned identifier');
	equal(given.topicAliasMaximum, 10, 'Topic Alias Maximum');
	equal(given.receiveMaximum, 20, 'Receive Maximum');
	await client.endAsync();
}

run({ properties, requestResponse, topicAliases, sharedGroup, refusals, serverSide });
