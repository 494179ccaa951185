// Runs the Java client. Without a user: java Clients.java HOST:PORT. Over TLS with log-ins:
// java Clients.java HOST:PORT CA ADMIN PASSWORD. Exits with 0 if all went well.

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.errors.GroupAuthorizationException;
import org.apache.kafka.common.errors.SaslAuthenticationException;
import org.apache.kafka.common.errors.SslAuthenticationException;
import org.apache.kafka.common.errors.TopicAuthorizationException;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

class Clients {
  static final int MESSAGES = 200;
  static final String SCRAM256 = "SCRAM-SHA-256", SCRAM512 = "SCRAM-SHA-512";

  static String broker, authority;

  public static void main(String[] args) throws Exception {
    broker = args[0];
    if (args.length == 1) {
      sendAndRead(at("PLAINTEXT"), "plain");
      return;
    }
    authority = args[1];
    secured(args[2], args[3]);
  }

  static void secured(String name, String password) throws Exception {
    for (String mechanism : List.of("PLAIN", SCRAM256, SCRAM512)) {
      sendAndRead(user("SASL_SSL", mechanism, name, password), "tls-" + mechanism);
      fails(SaslAuthenticationException.class, () -> topics(user("SASL_SSL", mechanism, name, "wrong")));
    }
    sendAndRead(user("SASL_PLAINTEXT", SCRAM256, name, password), "loopback");
    Properties stranger = user("SASL_SSL", SCRAM256, name, password);
    stranger.remove("ssl.truststore.location");
    stranger.remove("ssl.truststore.type");
    fails(SslAuthenticationException.class, () -> topics(stranger));
    permissions(user("SASL_SSL", SCRAM512, name, password), password);
  }

  // permissions makes a user, who may do what the administrator has permitted, and nothing else.
  static void permissions(Properties administrator, String password) throws Exception {
    try (Admin admin = Admin.create(administrator)) {
      for (ScramMechanism m : List.of(ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)) {
        var credential = new UserScramCredentialUpsertion("alice", new ScramCredentialInfo(m, 16384), password);
        admin.alterUserScramCredentials(List.of(credential)).all().get();
      }
      equal(2, admin.describeUserScramCredentials(List.of("alice")).description("alice").get().credentialInfos().size());
      admin.createTopics(List.of(
          new NewTopic("orders.eu", 2, (short) 1), new NewTopic("readable", 1, (short) 1), new NewTopic("secret", 1, (short) 1))).all().get();
      Properties alice = user("SASL_SSL", SCRAM256, "alice", password);
      fails(TopicAuthorizationException.class, () -> send(alice, "orders.eu", 1));
      admin.createAcls(List.of(
          allow(ResourceType.TOPIC, "orders", AclOperation.WRITE), allow(ResourceType.TOPIC, "orders", AclOperation.READ),
          allow(ResourceType.GROUP, "orders", AclOperation.READ), allow(ResourceType.TOPIC, "readable", AclOperation.READ))).all().get();
      sendAndRead(alice, "orders.eu");
      fails(TopicAuthorizationException.class, () -> send(alice, "readable", 1));
      fails(TopicAuthorizationException.class, () -> send(alice, "secret", 1));
      fails(TopicAuthorizationException.class, () -> read(alice, "secret", "orders.secret", 1));
      fails(GroupAuthorizationException.class, () -> read(alice, "orders.eu", "another", 1));
      try (Admin own = Admin.create(alice)) {
        equal(Set.of("orders.eu", "readable"), own.listTopics().names().get());
      }
    }
  }

  static AclBinding allow(ResourceType type, String prefix, AclOperation operation) {
    return new AclBinding(
        new ResourcePattern(type, prefix, PatternType.PREFIXED),
        new AccessControlEntry("User:alice", "*", operation, AclPermissionType.ALLOW));
  }

  static Properties at(String protocol) {
    Properties p = new Properties();
    p.putAll(Map.of(
        "bootstrap.servers", broker, "security.protocol", protocol,
        "default.api.timeout.ms", "50000", "delivery.timeout.ms", "50000", "request.timeout.ms", "40000", "max.block.ms", "50000"));
    return p;
  }

  static Properties user(String protocol, String mechanism, String name, String password) {
    Properties p = at(protocol);
    String module = mechanism.equals("PLAIN") ? "plain.PlainLoginModule" : "scram.ScramLoginModule";
    p.put("sasl.mechanism", mechanism);
    p.put("sasl.jaas.config",
        "org.apache.kafka.common.security." + module + " required username=\"" + name + "\" password=\"" + password + "\";");
    if (protocol.equals("SASL_SSL")) {
      p.put("ssl.truststore.type", "PEM");
      p.put("ssl.truststore.location", authority);
    }
    return p;
  }

  static void sendAndRead(Properties to, String topic) throws Exception {
    send(to, topic, MESSAGES);
    read(to, topic, topic + "-group", MESSAGES);
  }

  static Object topics(Properties of) throws Exception {
    try (Admin admin = Admin.create(of)) {
      return admin.listTopics().names().get();
    }
  }

  // send is by the idempotent producer, which is the default.
  static Object send(Properties to, String topic, int n) throws Exception {
    try (var producer = new KafkaProducer<>(to, new StringSerializer(), new StringSerializer())) {
      for (int i = 0; i < n; i++) {
        var message = new ProducerRecord<>(topic, "key", "value " + i);
        message.headers().add("number", String.valueOf(i).getBytes(StandardCharsets.UTF_8));
        var sent = producer.send(message);
        if (i == n - 1) {
          sent.get();
        }
      }
    } catch (ExecutionException e) {
      throw (Exception) e.getCause();
    }
    return null;
  }

  // read reads the messages of one key, which are in one partition and come in order.
  static Object read(Properties from, String topic, String group, int n) {
    Properties p = new Properties();
    p.putAll(from);
    p.putAll(Map.of("group.id", group, "auto.offset.reset", "earliest"));
    try (var consumer = new KafkaConsumer<>(p, new StringDeserializer(), new StringDeserializer())) {
      consumer.subscribe(List.of(topic));
      for (int next = 0; next < n;) {
        for (ConsumerRecord<String, String> message : consumer.poll(Duration.ofSeconds(1))) {
          equal("key", message.key());
          equal("value " + next, message.value());
          equal(String.valueOf(next), new String(message.headers().lastHeader("number").value(), StandardCharsets.UTF_8));
          next++;
        }
      }
      consumer.commitSync();
    }
    return null;
  }

  static void fails(Class<? extends Exception> want, Callable<Object> call) throws Exception {
    try {
      call.call();
    } catch (Exception e) {
      Throwable got = e instanceof ExecutionException ? e.getCause() : e;
      if (want.isInstance(got)) {
        return;
      }
      throw e;
    }
    throw new AssertionError("there is no " + want.getSimpleName());
  }

  static void equal(Object want, Object got) {
    if (!want.equals(got)) {
      throw new AssertionError("got " + got + ", not " + want);
    }
  }
}
