// SPDX-License-Identifier: Apache-2.0
// A publisher at a steady rate, in a process of its own: node load.mjs PORT TOPIC RATE SECONDS BYTES
// Prints how many messages it has written when the broker has answered its DISCONNECT's last ping.
import { connect } from 'node:net';

const [port, topic, rate, seconds, bytes] = process.argv.slice(2).map((text, index) =>
	(index === 1 ? text : Number(text)));
const STEP_MS = 10;

function packet(type, body) {
	const length = [];
	let rest = body.length;
	do {
		length.push((rest & 127) | (rest > 127 ? 128 : 0));
		rest >>= 7;
	} while (rest);
	return Buffer.concat([Buffer.from([type, ...length]), body]);
}

function text(string) {
	const utf8 = Buffer.from(string);
	return Buffer.concat([Buffer.from([utf8.length >> 8, utf8.length & 255]), utf8]);
}

function connectPacket() {
	return packet(0x10, Buffer.concat([text('MQTT'), Buffer.from([4, 2, 0, 0]), text('')]));
}

function publishPacket(number) {
	const payload = `{"number":${number},"value":${(number % 1000) / 10}}`.padEnd(bytes, ' ');
	return packet(0x30, Buffer.concat([text(`${topic}/${number % 10}`), Buffer.from(payload)]));
}

let sent = 0;
const socket = connect(port, '127.0.0.1', () => socket.write(connectPacket()));
socket.setNoDelay(true);

function run() {
	const started = Date.now();
	const timer = setInterval(() => {
		const due = Math.min(Math.floor((Date.now() - started) * rate / 1000), rate * seconds);
		const packets = [];
		while (sent < due) {
			packets.push(publishPacket(sent++));
		}
		socket.write(Buffer.concat(packets));
		if (sent === rate * seconds) {
			clearInterval(timer);
			socket.write(Buffer.from([0xc0, 0]));
		}
	}, STEP_MS);
}

socket.on('data', (data) => {
	if (data[0] === 0x20) {
		run();
	} else if (data[0] === 0xd0) {
		console.log(sent);
		socket.end(Buffer.from([0xe0, 0]));
	}
});
socket.on('error', (error) => {
	console.error(error.message);
	process.exit(1);
});
