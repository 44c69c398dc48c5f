// SPDX-License-Identifier: Apache-2.0
// Payloads and properties, seen in full; pause, filter, clear; hiding one subscription.
import { check, equal, run } from './lib.mjs';

async function properties(t) {
	const page = t.page;
	await page.click('#publish-more summary');
	await page.click('#add-user-property');
	await page.fill('[aria-label="Name of the user property"]', 'colour');
	await page.fill('[aria-label="Value of the user property"]', 'grün');
	await t.publish('look/json', '{"a": {"b": {"c": [1, 2]}}, "n": 12345678901234567890}', { form: 'json', qos: '1',
		contentType: 'application/json', responseTopic: 'look/answer', correlationData: 'id-7',
		messageExpiryInterval: '60', payloadFormatIndicator: true });
	const { row } = await t.message('look/json');
	await row.click();
	const facts = await page.textContent('#detail .facts');
	for (const text of ['application/json', 'look/answer', 'id-7', 'UTF-8', 'colour', 'grün', 's']) {
		check(facts.includes(text), `${text} in ${facts}`);
	}
	await t.reads('#detail .json', /12345678901234567890/);
	check(await page.locator('.json-key:text("c")').count() === 0, 'the third level is folded');
	await page.click('#detail summary:has-text("1 key") >> nth=-1');
	await page.locator('.json-key:has-text("c")').waitFor();
	await page.click('#detail button:has-text("Answer")');
	equal(await page.inputValue('#publish-form [name=topic]'), 'look/answer', 'the answer goes to the response topic');
	equal(await page.inputValue('#publish-form [name=correlationData]'), 'id-7', 'with the correlation data');
	await page.click('[aria-label="Close the message"]');
}

async function bytes(t) {
	const page = t.page;
	await t.publish('look/hex', '00 ff 0', { form: 'hex' });
	await t.reads('#publish-problem', /hex digits/);
	await t.publish('look/hex', '00 ff 1a', { form: 'hex' });
	const { payload, row } = await t.message('look/hex');
	equal(payload, '00 ff 1a', 'bytes in the list');
	await row.click();
	await t.reads('#detail pre', /^000000  00 ff 1a/);
	await page.click('[aria-label="Close the message"]');
	await t.publish('look/big', 'x'.repeat(300000), { form: 'text' });
	const big = await t.message('look/big');
	await big.row.click();
	await page.click('#detail button:has-text("Show the other 200,000")');
	await t.reads('#detail pre', /^x{300000}$/);
	await page.click('[aria-label="Close the message"]');
}

async function tools(t) {
	const page = t.page;
	await t.publish('other/one', 'apple', { form: 'text' });
	await t.message('other/one');
	await page.fill('#filter', 'apple');
	await page.waitForFunction(() => document.getElementById('counts').textContent.startsWith('1 of'));
	await page.fill('#filter', 'look/+');
	await page.waitForFunction(() => !document.querySelector('#list').innerText.includes('other/one'));
	await page.fill('#filter', 'nothing like this');
	await page.locator('#list-empty:has-text("Nothing passes")').waitFor();
	await page.fill('#filter', '');
	await t.message('other/one');
	await page.click('[aria-label="Hide messages of other/#"]');
	await page.waitForFunction(() => !document.querySelector('#list').innerText.includes('other/one'));
	await page.click('[aria-label="Hide messages of other/#"]');
	await page.click('#pause');
	await t.publish('other/two', 'pear');
	await page.locator('#newer:has-text("1 newer")').waitFor();
	check(await t.row('other/two').count() === 0, 'paused');
	await page.click('#pause');
	await t.message('other/two');
	await page.click('#clear');
	await page.locator('#list-empty:has-text("Nothing has come")').waitFor();
}

run(async (t) => {
	await t.connect();
	await t.subscribe('look/#', { qos: '1' });
	await t.subscribe('other/#');
	await properties(t);
	await bytes(t);
	await tools(t);
});
