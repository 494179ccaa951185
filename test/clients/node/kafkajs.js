// Runs kafkajs against a broker: node kafkajs.js HOST:PORT. Exits with 0 if all
// went well.
import assert from 'node:assert/strict'
import kafkajs from 'kafkajs'

const { CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = kafkajs
const kafka = new Kafka({ clientId: 'test', brokers: [process.argv[2]], logLevel: logLevel.ERROR })
const count = 200
const messages = topic => Array.from({ length: count }, (_, i) => ({
  key: `key ${i}`, value: `${topic} ${i}`, headers: { h: `header ${i}` }, timestamp: String(1_700_000_000_000 + i),
}))

async function send (topic, options = {}, producerOptions = {}) {
  const producer = kafka.producer({ allowAutoTopicCreation: true, ...producerOptions })
  await producer.connect()
  await producer.send({ topic, messages: messages(topic), ...options })
  await producer.disconnect()
}

// read takes n messages of a topic as a member of a group, and commits.
async function read (topic, groupId, n) {
  const consumer = kafka.consumer({ groupId, sessionTimeout: 10_000, maxWaitTimeInMs: 500 })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const got = []
  await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, e => reject(e.payload.error))
    consumer.run({
      autoCommit: false,
      eachMessage: async ({ message }) => {
        if (got.length < n) got.push(message)
        if (got.length === n) resolve()
      },
    }).catch(reject)
  })
  const next = String(Number(got.at(-1).offset) + 1)
  await consumer.commitOffsets([{ topic, partition: 0, offset: next }])
  await consumer.disconnect()
  return got
}

function same (topic, got) {
  const want = messages(topic)
  assert.equal(got.length, count)
  got.forEach((m, i) => assert.deepEqual(
    [String(m.key), String(m.value), String(m.headers.h), m.timestamp, m.offset],
    [want[i].key, want[i].value, want[i].headers.h, want[i].timestamp, String(i)]))
}

for (const [name, compression] of [['none', CompressionTypes.None], ['gzip', CompressionTypes.GZIP]]) {
  for (const acks of [-1, 0, 1]) {
    const topic = `${name}-${acks + 1}`
    await send(topic, { compression, acks })
    same(topic, await read(topic, `all-${topic}`, count))
  }
}

await send('idempotent', {}, { idempotent: true })
const first = await read('idempotent', 'billing', 80)
same('idempotent', [...first, ...await read('idempotent', 'billing', count - 80)])

const admin = kafka.admin()
await admin.connect()
assert.equal(await admin.createTopics({ topics: [{ topic: 'made', numPartitions: 3 }] }), true)
assert((await admin.listTopics()).includes('made'))
const described = await admin.fetchTopicMetadata({ topics: ['made'] })
assert.equal(described.topics[0].partitions.length, 3)
assert.equal((await admin.fetchTopicOffsets('idempotent'))[0].high, String(count))
assert.equal((await admin.fetchTopicOffsetsByTimestamp('idempotent', 1_700_000_000_050))[0].offset, '50')
assert.equal((await admin.fetchOffsets({ groupId: 'billing', topics: ['idempotent'] }))[0].partitions[0].offset, String(count))
assert((await admin.listGroups()).groups.some(g => g.groupId === 'billing'))
assert.equal((await admin.describeGroups(['billing'])).groups[0].state, 'Empty')
const configs = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: 'made' }] })
assert(configs.resources[0].configEntries.length > 0)
await admin.createPartitions({ topicPartitions: [{ topic: 'made', count: 5 }] })
const grown = await admin.fetchTopicMetadata({ topics: ['made'] })
assert.equal(grown.topics[0].partitions.length, 5)
const appendTime = [{ name: 'message.timestamp.type', value: 'LogAppendTime' }]
await admin.alterConfigs({ validateOnly: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: 'made', configEntries: appendTime }] })
const altered = await admin.describeConfigs({ includeSynonyms: true, resources: [{ type: ConfigResourceTypes.TOPIC, name: 'made' }] })
assert.equal(altered.resources[0].configEntries.find(c => c.configName === 'message.timestamp.type').configValue, 'LogAppendTime')
assert.equal((await admin.describeCluster()).brokers.length, 1)
await admin.deleteTopicRecords({ topic: 'idempotent', partitions: [{ partition: 0, offset: '100' }] })
assert.equal((await admin.fetchTopicOffsets('idempotent'))[0].low, '100')

// An offset out of range is committed as -1 or -2, and the consumer goes on.
for (const [groupId, fromBeginning, offset] of [['beyond', true, '1000'], ['before', true, '5']]) {
  await admin.setOffsets({ groupId, topic: 'idempotent', partitions: [{ partition: 0, offset }] })
  assert.deepEqual((await read('idempotent', groupId, 3)).map(m => m.offset), ['100', '101', '102'])
}
for (const [earliest, kept] of [[true, '-2'], [false, '-1']]) {
  await admin.setOffsets({ groupId: 'reset', topic: 'idempotent', partitions: [{ partition: 0, offset: '150' }] })
  await admin.resetOffsets({ groupId: 'reset', topic: 'idempotent', earliest })
  assert.equal((await admin.fetchOffsets({ groupId: 'reset', topics: ['idempotent'] }))[0].partitions[0].offset, kept)
  assert.equal((await read('idempotent', 'reset', 1))[0].offset, '100')
}

// Settings that have no effect here.
const kept = [['compression.type', 'gzip'], ['segment.ms', '60000'], ['min.insync.replicas', '2']].map(([name, value]) => ({ name, value }))
assert.equal(await admin.createTopics({ topics: [{ topic: 'kept', numPartitions: 1, configEntries: kept }] }), true)
const shown = await admin.describeConfigs({ includeSynonyms: true, resources: [{ type: ConfigResourceTypes.TOPIC, name: 'kept' }] })
const entry = name => shown.resources[0].configEntries.find(c => c.configName === name)
kept.forEach(({ name, value }) => assert.equal(entry(name).configValue, value))
assert.equal(entry('retention.bytes').isDefault, true)
assert.deepEqual(entry('retention.bytes').configSynonyms, [])

await admin.deleteGroups(['billing'])
await admin.deleteTopics({ topics: ['made'] })
assert(!(await admin.listTopics()).includes('made'))
await admin.disconnect()
