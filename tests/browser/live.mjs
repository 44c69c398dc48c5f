// SPDX-License-Identifier: Apache-2.0
// The live view, from /metrics or, where there is none, from $SYS: its numbers follow what happens.
import { spawn } from 'node:child_process';
import { check, eventually, given, run } from './lib.mjs';

function numberOf(text) {
	return parseFloat(text.replace(/,/g, '')) * (text.includes('k') ? 1000 : 1);
}

run(async (t) => {
	if (given.source === 'sys') {
		t.expect(/404|403|Failed to load resource/);
	}
	const page = t.page;
	await t.connect();
	await t.subscribe('seen/#');
	await page.click('.views [data-go="live"]');
	const named = given.source === 'sys' ? /from \$SYS/ : /from \/metrics/;
	await eventually(async () => named.test(await page.textContent('#live-source')), `charts ${named}`);
	const load = spawn(process.execPath, [new URL('load.mjs', import.meta.url).pathname, given.tcp, 'seen/x', 500, 3600,
		50].map(String), { stdio: ['ignore', 'ignore', 'inherit'] });
	const value = (chart, series) => page.textContent(`.chart:has(h3:text-is("${chart}")) .key:has-text("${series}") b`);
	await eventually(async () => {
		const rate = numberOf(await value('Messages per second', 'received'));
		return rate > 250 && rate < 1000;
	}, 'about 500 messages a second');
	check(await page.locator('.chart .line').first().getAttribute('d') !== '', 'a line is drawn');
	check(numberOf(await value('Connections', 'connected')) >= 1, 'this page is counted');
	if (given.source !== 'sys') {
		await eventually(async () => /µs|ms|s$/.test(await value('Latency, publish to deliver', '99 %')), 'a latency');
	} else {
		check((await page.textContent('#live-notice')).includes('$SYS'), 'it is said what is missing');
		await page.click('.views [data-go="messages"]');
		check(!(await page.innerText('#list')).includes('$SYS'), '$SYS is not among the messages');
	}
	load.kill();
});
