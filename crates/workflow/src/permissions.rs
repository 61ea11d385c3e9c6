//! Who may do what on the bus: the users of one Stemflow, and the subjects that each of them needs.
//!
//! Nothing here knows which stages there are: a stage's subjects follow from its place in the
//! graph. A purge, a look at a message and a stream's info name their subject in the request's body,
//! which permissions do not see; so whoever may do one of these to a stream may do it to all of it.

use crate::graph::{Graph, StageSpec};
use crate::job::Lane;
use crate::names;
use crate::object::Bucket;

/// Users that are there whatever the stages.
pub const SERVICES: [&str; 3] = ["gateway", "admin", "client"];

/// What all names of a gateway's micro service begin with, and its endpoints.
const DOOR: &str = "stemflow";
const ENDPOINTS: [&str; 4] = ["submit", "status", "cancel", "queue"];

/// A user of the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its name: that of its stage or service.
    pub name: String,
    /// Who that is, in half a sentence.
    pub about: String,
    /// What it may send to.
    pub publish: Vec<Permission>,
    /// What it may listen to.
    pub subscribe: Vec<Permission>,
    /// True if it may answer what it is asked, wherever the answer goes.
    pub answers: bool,
}

/// A subject, and what it is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The subject, with the wildcards of NATS.
    pub subject: String,
    /// Why whoever has this permission needs it.
    pub why: String,
}

/// Where the answers to what a user asks arrive. Each has a place of its own, so that none hears
/// what others are told; people have the one that the `nats` command takes by itself.
pub fn inbox(user: &str) -> String {
    match user {
        "client" => "_INBOX".to_owned(),
        _ => format!("_INBOX_{user}"),
    }
}

/// All users that a workflow needs: one for each stage, in their order, and [`SERVICES`].
pub fn users(graph: &Graph) -> Vec<User> {
    let stages = graph.stages().iter().map(|spec| stage(graph, spec));
    stages.chain([gateway(), admin(), client()]).collect()
}

/// Subjects as they are listed, each with its reason.
#[derive(Default)]
struct Listed(Vec<Permission>);

impl Listed {
    fn add(&mut self, why: impl Into<String>, subjects: impl IntoIterator<Item = String>) {
        let why = why.into();
        for subject in subjects {
            if self.0.iter().all(|known| known.subject != subject) {
                self.0.push(Permission { subject, why: why.clone() });
            }
        }
    }
}

fn api(what: &str) -> String {
    format!("$JS.API.{what}")
}

fn info(stream: &str) -> String {
    api(&format!("STREAM.INFO.{stream}"))
}

/// What reading a stream takes with an ordered consumer, as the `nats` command and its libraries do.
fn read_in_order(stream: &str) -> [String; 5] {
    [
        info(stream),
        api(&format!("DIRECT.GET.{stream}.>")),
        api(&format!("CONSUMER.CREATE.{stream}.>")),
        api(&format!("CONSUMER.DELETE.{stream}.*")),
        format!("$JS.FC.{stream}.>"),
    ]
}

fn of_each_bucket(what: &str) -> impl Iterator<Item = String> {
    Bucket::ALL.into_iter().map(move |bucket| api(&format!("{what}.{}", bucket.stream())))
}

/// Why whoever stores objects looks at single chunks, and deletes them.
const STORE_AGAIN: &str = "find out which chunks came, and store them again, when a leader is lost";

/// A request to a bucket's leader about a single message.
fn leaders(bucket: Bucket, what: &str) -> String {
    api(&format!("STREAM.MSG.{what}.{}", bucket.stream()))
}

fn key_value(bucket: &str) -> String {
    format!("KV_{bucket}")
}

fn stage(graph: &Graph, spec: &StageSpec) -> User {
    let name = &spec.name;
    let (stream, jobs, workflows) =
        (names::STREAM, key_value(names::JOBS), key_value(names::WORKFLOWS));
    let mut publish = Listed::default();
    for lane in Lane::ALL {
        let consumer = names::consumer(name, lane);
        publish.add("find its consumer", [api(&format!("CONSUMER.INFO.{stream}.{consumer}"))]);
        publish.add("ask for tasks", [api(&format!("CONSUMER.MSG.NEXT.{stream}.{consumer}"))]);
        let ack = format!("{stream}.{consumer}.>");
        publish.add("keep, give back and acknowledge tasks", [format!("$JS.ACK.{ack}")]);
        publish
            .add("the same, in the longer form of newer servers", [format!("$JS.ACK.*.*.{ack}")]);
    }
    publish.add("write facts: its own alone", [format!("stemflow.fact.*.{name}.*")]);
    publish.add("read facts, from the leader", [api(&format!("STREAM.MSG.GET.{stream}"))]);
    publish.add("count facts", [info(stream)]);
    let successors: Vec<&StageSpec> = graph.successors(name).collect();
    for next in &successors {
        let subject = format!("stemflow.task.{}.*.*.*", next.name);
        publish.add(format!("release `{}`, which comes after it", next.name), [subject]);
    }
    publish
        .add("lay down what is dead: its own tasks alone", [format!("stemflow.dead.{name}.*.*")]);
    publish.add(
        "read job records and workflows, from the leader",
        [
            info(&jobs),
            api(&format!("STREAM.MSG.GET.{jobs}")),
            info(&workflows),
            api(&format!("STREAM.MSG.GET.{workflows}")),
        ],
    );
    publish.add("change job records", [format!("$KV.{}.*", names::JOBS)]);
    for bucket in spec.reads() {
        let subject = api(&format!("DIRECT.GET.{}", bucket.stream()));
        publish.add(format!("read objects of `{}`", bucket.name()), [subject]);
        publish.add("the same, from the leader, where a replica lags", [leaders(*bucket, "GET")]);
    }
    for bucket in spec.writes() {
        publish.add(format!("store objects in `{}`", bucket.name()), [bucket.chunks("*.*")]);
        publish.add(STORE_AGAIN, [leaders(*bucket, "GET"), leaders(*bucket, "DELETE")]);
    }
    if successors.is_empty() {
        let meta = format!("$O.{}.M.*", Bucket::Output.name());
        let look = api(&format!("STREAM.MSG.GET.{}", Bucket::Output.stream()));
        publish.add("give the results their names, as one of the last stages", [meta, look]);
    }
    publish.add("have those told who wait for its end", [names::callback_of_any()]);
    let look = api(&format!("STREAM.MSG.GET.{}", names::CALLBACK_STREAM));
    publish.add("find out whether that has come, when a leader is lost", [look]);
    publish.add("free tasks and facts of an ended run", [api(&format!("STREAM.PURGE.{stream}"))]);
    publish.add("free its objects", of_each_bucket("STREAM.PURGE"));
    publish.add("find what an ended run has left", [info(&Bucket::Output.stream())]);
    publish.add("tell what happens", tells());
    let mut subscribe = Listed::default();
    subscribe.add("answers", [format!("{}.>", inbox(name))]);
    subscribe.add("hear that a job has ended", ["stemflow.event.*.state".to_owned()]);
    User {
        name: name.clone(),
        about: "a stage".to_owned(),
        publish: publish.0,
        subscribe: subscribe.0,
        answers: false,
    }
}

fn tells() -> [String; 2] {
    ["stemflow.event.*.state".to_owned(), "stemflow.event.*.progress".to_owned()]
}

fn gateway() -> User {
    let (stream, dead) = (names::STREAM, names::DEAD_STREAM);
    let (jobs, workflows) = (key_value(names::JOBS), key_value(names::WORKFLOWS));
    let callbacks = names::CALLBACK_STREAM;
    let streams: Vec<String> = [stream, dead, callbacks, &jobs, &workflows]
        .map(str::to_owned)
        .into_iter()
        .chain(Bucket::ALL.map(Bucket::stream))
        .collect();
    let mut publish = Listed::default();
    for deed in ["INFO", "CREATE", "UPDATE"] {
        let of = |name: &String| api(&format!("STREAM.{deed}.{name}"));
        publish.add("make streams and buckets, look at them", streams.iter().map(of));
    }
    publish.add("make consumers", [api(&format!("CONSUMER.CREATE.{stream}.*.stemflow.task.>"))]);
    let consumer = format!("{callbacks}.{}", names::CALLBACK);
    let make = api(&format!("CONSUMER.CREATE.{consumer}.{}", names::CALLBACKS));
    publish.add("make the consumer of callbacks", [make]);
    publish.add("tell the backlog of each", [api(&format!("CONSUMER.INFO.{stream}.*"))]);
    publish.add("see what the account allows", [api("INFO")]);
    publish.add("store workflows", [format!("$KV.{}.*", names::WORKFLOWS)]);
    publish.add("write job records", [format!("$KV.{}.*", names::JOBS)]);
    publish.add(
        "read job records and workflows, from the leader",
        [api(&format!("STREAM.MSG.GET.{jobs}")), api(&format!("STREAM.MSG.GET.{workflows}"))],
    );
    publish.add("delete job records", [api(&format!("STREAM.PURGE.{jobs}"))]);
    publish.add("release tasks", ["stemflow.task.*.*.*.*".to_owned()]);
    publish.add("read tasks and facts", [api(&format!("STREAM.MSG.GET.{stream}"))]);
    publish.add("free tasks and facts", [api(&format!("STREAM.PURGE.{stream}"))]);
    publish.add("lay down what is dead", ["stemflow.dead.*.*.*".to_owned()]);
    publish.add(
        "heed what the server gave up on",
        [api(&format!("STREAM.MSG.GET.{dead}")), api(&format!("STREAM.MSG.DELETE.{dead}"))],
    );
    publish.add("lay down who is to be told of an end", [names::callback_of_any()]);
    let ask = api(&format!("CONSUMER.MSG.NEXT.{consumer}"));
    let acks = [format!("$JS.ACK.{consumer}.>"), format!("$JS.ACK.*.*.{consumer}.>")];
    publish.add("take them up, and give them back", [ask].into_iter().chain(acks));
    let look = ["STREAM.MSG.GET", "STREAM.PURGE"].map(|deed| api(&format!("{deed}.{callbacks}")));
    publish.add("find out whether they are laid down, delete them", look);
    let queue = Bucket::Queue.name();
    publish.add("store songs", [format!("$O.{queue}.C.*"), format!("$O.{queue}.M.*")]);
    publish.add("find songs and results, and what is left", of_each_bucket("STREAM.MSG.GET"));
    publish.add(STORE_AGAIN, [leaders(Bucket::Queue, "DELETE")]);
    let output = Bucket::Output;
    publish.add("give out results", [api(&format!("DIRECT.GET.{}", output.stream()))]);
    publish.add("give results their names", [format!("$O.{}.M.*", output.name())]);
    publish.add("free objects", of_each_bucket("STREAM.PURGE"));
    publish.add("tell what happens", tells());
    let mut subscribe = Listed::default();
    subscribe.add("answers", [format!("{}.>", inbox("gateway"))]);
    subscribe.add("live progress", [names::EVENTS.to_owned()]);
    subscribe.add("its micro service", ENDPOINTS.map(|name| format!("{DOOR}.{name}")));
    subscribe.add(
        "to be found as one",
        ["$SRV.*".to_owned(), format!("$SRV.*.{DOOR}"), format!("$SRV.*.{DOOR}.*")],
    );
    User {
        name: "gateway".to_owned(),
        about: "the front doors, and the reconciler".to_owned(),
        publish: publish.0,
        subscribe: subscribe.0,
        answers: true,
    }
}

fn admin() -> User {
    let all = || vec![Permission { subject: ">".to_owned(), why: "all of the account".to_owned() }];
    User {
        name: "admin".to_owned(),
        about: "who runs it: stemflow init, stemflow dead, the nats command".to_owned(),
        publish: all(),
        subscribe: all(),
        answers: false,
    }
}

fn client() -> User {
    let (jobs, queue, output) = (key_value(names::JOBS), Bucket::Queue, Bucket::Output);
    let (songs, stems) = (queue.stream(), output.stream());
    let mut publish = Listed::default();
    publish.add("use the micro service", ENDPOINTS.map(|name| format!("{DOOR}.{name}")));
    publish.add("find it", ["$SRV.>".to_owned()]);
    publish.add(
        "put songs",
        [info(&songs), format!("$O.{}.C.*", queue.name()), format!("$O.{}.M.*", queue.name())],
    );
    publish.add(
        "see whether a song is there",
        [
            api(&format!("DIRECT.GET.{songs}.$O.{}.M.*", queue.name())),
            api(&format!("STREAM.MSG.GET.{songs}")),
        ],
    );
    publish.add("get stems", read_in_order(&stems));
    publish.add("get stems", [api(&format!("STREAM.MSG.GET.{stems}"))]);
    publish.add("watch jobs", read_in_order(&jobs));
    let mut subscribe = Listed::default();
    subscribe.add("answers", [format!("{}.>", inbox("client"))]);
    subscribe.add("what happens while it happens", [names::EVENTS.to_owned()]);
    User {
        name: "client".to_owned(),
        about: "people with the nats command: songs in, stems out".to_owned(),
        publish: publish.0,
        subscribe: subscribe.0,
        answers: false,
    }
}
