// SPDX-License-Identifier: Apache-2.0
// What the scenario scripts share: promises with deadlines, and checks that say what was wrong.
'use strict';

const mqtt = require('mqtt');

const DEADLINE_MS = 60000;
const url = process.argv[2];

if (!url) {
	console.error(`usage: node ${process.argv[1]} mqtt://HOST:PORT`);
	process.exit(2);
}

function deadline(promise, what) {
	let timer;
	const late = new Promise((resolve, reject) => {
		timer = setTimeout(() => reject(new Error(`nothing came in time: ${what}`)), DEADLINE_MS);
	});
	return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function connect(options) {
	const client = mqtt.connect(url, { reconnectPeriod: 0, connectTimeout: DEADLINE_MS, ...options });
	client.inbox = [];
	client.waiting = [];
	client.on('message', (topic, payload, packet) => {
		const message = { topic, text: payload.toString(), packet };
		const next = client.waiting.shift();
		if (next) {
			next(message);
		} else {
			client.inbox.push(message);
		}
	});
	return deadline(new Promise((resolve, reject) => {
		client.once('connect', (connack) => {
			client.connack = connack;
			resolve(client);
		});
		client.once('error', reject);
	}), 'CONNACK');
}

function receive(client) {
	if (client.inbox.length > 0) {
		return Promise.resolve(client.inbox.shift());
	}
	return deadline(new Promise((resolve) => client.waiting.push(resolve)), 'a message');
}

function equal(got, wanted, what) {
	if (JSON.stringify(got) !== JSON.stringify(wanted)) {
		throw new Error(`${what}: got ${JSON.stringify(got)}, wanted ${JSON.stringify(wanted)}`);
	}
}

// Runs the scenarios one after the other; the process ends with 1 at the first that fails.
async function run(scenarios) {
	for (const [name, scenario] of Object.entries(scenarios)) {
		try {
			await scenario();
			console.log(`ok ${name}`);
		} catch (error) {
			console.log(`failed ${name}: ${error.stack}`);
			process.exit(1);
		}
	}
	process.exit(0);
}

module.exports = { connect, deadline, equal, receive, run };
