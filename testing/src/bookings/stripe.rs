//! A stand-in for Stripe that moves money as Stripe does: what comes again under an `Idempotency-Key` has no second
//! effect, a hold can be taken once. It counts effects, and takes its time to answer.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{Random, pass};

type Form = BTreeMap<String, String>;

/// A PaymentIntent.
#[derive(Clone, Debug)]
pub struct Intent {
    pub id: String,
    /// What asked for it.
    pub key: String,
    pub reservation: i64,
    pub status: &'static str,
    pub amount: i64,
    /// Amounts that were taken, each time.
    pub captures: Vec<i64>,
    customer: String,
    metadata: Value,
}

impl Intent {
    fn shown(&self) -> Value {
        json!({
            "id": self.id, "object": "payment_intent", "status": self.status, "currency": "jpy",
            "amount": self.amount, "customer": self.customer, "last_payment_error": null,
            "metadata": self.metadata,
        })
    }
}

#[derive(Default)]
struct Books {
    count: u64,
    /// The first request under each key, and its answer.
    answered: BTreeMap<String, (String, u16, Value)>,
    customers: BTreeMap<String, Value>,
    methods: BTreeMap<String, String>,
    intents: Vec<Intent>,
    faults: Vec<String>,
}

/// A running stand-in. It ends with the process.
pub struct FakeStripe {
    pub address: SocketAddr,
    books: Arc<Mutex<Books>>,
}

impl FakeStripe {
    pub fn start(mut random: Random) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let books = Arc::<Mutex<Books>>::default();
        let all = Arc::clone(&books);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (all, random) = (Arc::clone(&all), random.fork());
                // A client that was killed is part of the test.
                thread::spawn(move || stream.and_then(|stream| serve(stream, &all, random)));
            }
        });
        Self { address, books }
    }

    /// The configuration's table for it.
    pub fn config(&self) -> String {
        format!(
            "[payments]\nway = \"stripe\"\nstripe_key = \"sk_test_of_a_test\"\n\
             stripe_webhook_secret = \"whsec_of_a_test_0123456789\"\nstripe_url = \"http://{}\"\n",
            self.address
        )
    }

    pub fn intents(&self) -> Vec<Intent> {
        self.lock().intents.clone()
    }

    /// What a client of Stripe must not do.
    pub fn faults(&self) -> Vec<String> {
        self.lock().faults.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }
}

fn serve(stream: TcpStream, books: &Mutex<Books>, mut random: Random) -> io::Result<()> {
    let mut answers = stream.try_clone()?;
    let mut stream = BufReader::new(stream);
    while let Some(request) = Request::read(&mut stream)? {
        pass(Duration::from_millis(random.below(15)));
        let (status, body) = books.lock().unwrap().answer(&request);
        pass(Duration::from_millis(random.below(25)));
        let text = body.to_string();
        let length = text.len();
        write!(
            answers,
            "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{text}"
        )?;
    }
    Ok(())
}

struct Request {
    method: String,
    path: String,
    query: Form,
    key: Option<String>,
    body: String,
}

impl Request {
    /// `None`: the client has no more.
    fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (method, path, query) = (method.to_owned(), path.to_owned(), form(query));
        let (mut key, mut length) = (None, 0);
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "idempotency-key" => key = Some(value.trim().to_owned()),
                "content-length" => length = value.trim().parse().unwrap_or_default(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        Ok(Some(Self { method, path, query, key, body: String::from_utf8_lossy(&body).into_owned() }))
    }
}

impl Books {
    fn answer(&mut self, request: &Request) -> (u16, Value) {
        let Some(key) = request.key.as_ref() else { return self.work(request) };
        let content = format!("{} {} {}", request.method, request.path, request.body);
        if let Some((first, status, body)) = self.answered.get(key) {
            if *first == content {
                return (*status, body.clone());
            }
            self.faults.push(format!("the key {key} came with {first} and with {content}"));
            return refusal(400, "idempotency_error");
        }
        let (status, body) = self.work(request);
        self.answered.insert(key.clone(), (content, status, body.clone()));
        (status, body)
    }

    fn work(&mut self, request: &Request) -> (u16, Value) {
        let parts: Vec<_> = request.path.trim_start_matches("/v1/").split('/').collect();
        let values = form(&request.body);
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["payment_methods", id]) => (200, self.method(id)),
            ("POST", ["payment_methods", id, "attach"]) => {
                let customer = values.get("customer").cloned().unwrap_or_default();
                self.methods.insert((*id).to_owned(), customer);
                (200, self.method(id))
            }
            ("GET", ["customers"]) => {
                let email = request.query.get("email").cloned().unwrap_or_default();
                let known = self.customers.values().filter(|customer| customer["email"] == *email);
                (200, list(known.cloned().collect()))
            }
            ("GET", ["customers", id]) => found(self.customers.get(*id).cloned()),
            ("POST", ["customers"]) => {
                let id = self.name("cus");
                let customer = json!({
                    "id": id, "email": values.get("email"), "metadata": metadata(&values),
                });
                self.customers.insert(id, customer.clone());
                (200, customer)
            }
            ("POST", ["setup_intents"]) => {
                (200, json!({ "id": self.name("seti"), "status": "requires_confirmation" }))
            }
            ("POST", ["setup_intents", id, "confirm"]) => (200, json!({ "id": id, "status": "succeeded" })),
            (method, ["payment_intents", rest @ ..]) => self.payment(method, rest, &values, request),
            _ => {
                self.faults.push(format!("{} {} is not known here", request.method, request.path));
                refusal(404, "resource_missing")
            }
        }
    }

    fn payment(&mut self, method: &str, rest: &[&str], values: &Form, request: &Request) -> (u16, Value) {
        match (method, rest) {
            ("GET", []) => {
                let customer = request.query.get("customer").cloned().unwrap_or_default();
                let own = self.intents.iter().rev().filter(|intent| intent.customer == customer);
                (200, list(own.take(100).map(Intent::shown).collect()))
            }
            ("POST", []) => {
                let intent = self.make(values);
                self.intents.push(intent.clone());
                (200, intent.shown())
            }
            ("GET", [id]) => found(self.intents.iter().find(|intent| intent.id == *id).map(Intent::shown)),
            ("POST", [id, what]) => {
                let Some(intent) = self.intents.iter_mut().find(|intent| intent.id == *id) else {
                    return refusal(404, "resource_missing");
                };
                match (intent.status, *what) {
                    ("requires_capture", "capture") => {
                        let asked = values.get("amount_to_capture").and_then(|text| text.parse().ok());
                        intent.captures.push(asked.unwrap_or(intent.amount));
                        intent.status = "succeeded";
                    }
                    ("requires_capture", "cancel") => intent.status = "canceled",
                    _ => return refusal(400, "payment_intent_unexpected_state"),
                }
                (200, intent.shown())
            }
            _ => refusal(404, "resource_missing"),
        }
    }

    fn make(&mut self, values: &Form) -> Intent {
        let text = |name: &str| values.get(name).cloned().unwrap_or_default();
        let amount = text("amount").parse().unwrap_or_default();
        let is_taken = text("capture_method") == "automatic";
        Intent {
            id: self.name("pi"),
            key: text("metadata[slotcast_key]"),
            reservation: text("metadata[slotcast_reservation]").parse().unwrap_or_default(),
            status: if is_taken { "succeeded" } else { "requires_capture" },
            amount,
            captures: if is_taken { vec![amount] } else { Vec::new() },
            customer: text("customer"),
            metadata: metadata(values),
        }
    }

    fn method(&self, id: &str) -> Value {
        json!({
            "id": id, "customer": self.methods.get(id),
            "card": { "brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2099 },
        })
    }

    fn name(&mut self, kind: &str) -> String {
        self.count += 1;
        format!("{kind}_{:08}", self.count)
    }
}

fn list(items: Vec<Value>) -> Value {
    json!({ "object": "list", "data": items })
}

fn found(item: Option<Value>) -> (u16, Value) {
    item.map_or_else(|| refusal(404, "resource_missing"), |item| (200, item))
}

fn refusal(status: u16, code: &str) -> (u16, Value) {
    (status, json!({ "error": { "type": "invalid_request_error", "code": code, "message": "No." } }))
}

fn metadata(values: &Form) -> Value {
    let named = values.iter().filter_map(|(name, value)| {
        Some((name.strip_prefix("metadata[")?.strip_suffix(']')?.to_owned(), Value::from(value.clone())))
    });
    Value::Object(named.collect())
}

fn form(text: &str) -> Form {
    let pairs = url::form_urlencoded::parse(text.as_bytes());
    pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}
