// Runs kafkajs and @platformatic/kafka over TLS with SCRAM: node secure.js HOST:PORT CA USER PASSWORD. Exits with
// 0 if all went well.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import kafkajs from 'kafkajs'
import { Consumer, MessagesStreamModes, Producer, stringDeserializers, stringSerializers } from '@platformatic/kafka'

// Node.js has this from version 22 on, which the client counts on.
Promise.withResolvers ??= () => {
  const made = {}
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}

const [broker, authority, username, password] = process.argv.slice(2)
const tls = { ca: [fs.readFileSync(authority)] }

async function withKafkajs (mechanism) {
  const kafka = new kafkajs.Kafka({
    clientId: 'test', brokers: [broker], ssl: tls, sasl: { mechanism, username, password }, logLevel: kafkajs.logLevel.NOTHING, retry: { retries: 0 },
  })
  const topic = `kafkajs-${mechanism}`
  const producer = kafka.producer({ allowAutoTopicCreation: true, retry: { retries: 5 } })
  await producer.connect()
  await producer.send({ topic, messages: [{ value: 'hello' }] })
  await producer.disconnect()
  const consumer = kafka.consumer({ groupId: topic, sessionTimeout: 10_000, maxWaitTimeInMs: 500, retry: { retries: 5 } })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const value = await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, e => reject(e.payload.error))
    consumer.run({ eachMessage: async ({ message }) => resolve(String(message.value)) }).catch(reject)
  })
  assert.equal(value, 'hello')
  await consumer.disconnect()
  const wrong = new kafkajs.Kafka({
    brokers: [broker], ssl: tls, sasl: { mechanism, username, password: 'wrong' }, logLevel: kafkajs.logLevel.NOTHING, retry: { retries: 0 },
  }).admin()
  await assert.rejects(wrong.connect(), /password/)
}

async function withPlatformatic (mechanism) {
  const base = { clientId: 'test', bootstrapBrokers: [broker], autocreateTopics: true, tls, sasl: { mechanism, username, password } }
  const topic = `platformatic-${mechanism}`
  const producer = new Producer({ ...base, serializers: stringSerializers })
  await producer.send({ messages: [{ topic, value: 'hello' }] })
  await producer.close()
  const consumer = new Consumer({ ...base, groupId: topic, deserializers: stringDeserializers, maxWaitTime: 500 })
  const stream = await consumer.consume({
    topics: [topic], autocommit: false, sessionTimeout: 10_000, heartbeatInterval: 500,
    mode: MessagesStreamModes.COMMITTED, fallbackMode: 'earliest',
  })
  for await (const message of stream) {
    assert.equal(message.value, 'hello')
    break
  }
  await consumer.close(true)
}

await withKafkajs('scram-sha-256')
await withKafkajs('scram-sha-512')
await withPlatformatic('SCRAM-SHA-256')
await withPlatformatic('SCRAM-SHA-512')
