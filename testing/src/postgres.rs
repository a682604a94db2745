//! A real PostgreSQL server from the system's packages, on a port of its own of 127.0.0.1.
//!
//! One server serves all tests of a process; each takes a database of its own.
//!
//! Invariant: fsync is on; the server and its directory are gone soon after the test's process has ended, however it
//! ended: a shell that waits for the end of its input takes them away.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write as _},
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

const USER: &str = "slotcast";
pub const PASSWORD: &str = "only-for-tests";
/// Tries of 100 ms until the server answers.
const READY_TRIES_MAX: u32 = 600;
/// A free port may be taken by another before the server has it.
const START_TRIES_MAX: u32 = 5;

/// Runs the server (`$2` and on) with its output in `$1/log`. `crash` on its input kills it at once and starts it
/// again; the input's end stops it and removes `$1`. It answers each start with the server's process ID.
const KEEPER: &str = r#"
directory=$1; shift
trap : INT TERM HUP
start() { "$@" >>"$directory/log" 2>&1 </dev/null & server=$!; echo "$server"; }
start "$@"
while read -r order; do
    kill -QUIT "$server"; wait "$server"
    start "$@"
done
kill -QUIT "$server"; wait "$server"
rm -rf "$directory"
"#;

/// Tells directories, databases and schemas of this process apart.
static COUNT: AtomicU32 = AtomicU32::new(1);

/// A running server.
pub struct Postgres {
    port: u16,
    directory: PathBuf,
    programs: PathBuf,
    keeper: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// The server of this process, started by the first who asks. `None`: PostgreSQL is not installed here, which
/// was said ([`crate::skip`]).
#[track_caller]
pub fn shared() -> Option<&'static Postgres> {
    static SERVER: OnceLock<Option<Postgres>> = OnceLock::new();
    SERVER.get_or_init(start).as_ref()
}

/// A server of one test's own, which ends when the value is dropped. `None`: as [`shared`].
#[track_caller]
pub fn start() -> Option<Postgres> {
    let Some(programs) = programs() else {
        crate::skip("PostgreSQL is not installed (apt-get install postgresql)");
        return None;
    };
    for _ in 0..START_TRIES_MAX {
        if let Some(server) = Postgres::start(&programs) {
            return Some(server);
        }
    }
    panic!("PostgreSQL does not start");
}

/// Where the newest version's programs are.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            let programs = path.join("bin");
            programs.join("initdb").exists().then_some((version, programs))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, programs)| programs)
}

/// A command as a user that PostgreSQL accepts: it refuses to run as root.
fn unprivileged(program: &Path) -> Command {
    if fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

#[track_caller]
fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// An empty directory that the server's user can use.
fn directory() -> PathBuf {
    let name = format!("slotcast-postgres-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = env::temp_dir().join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir(&path).unwrap();
    // The data directory within is the server's user's alone.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    path
}

impl Postgres {
    fn start(programs: &Path) -> Option<Self> {
        let directory = directory();
        let data = directory.join("data");
        fs::write(directory.join("password"), PASSWORD).unwrap();
        succeed(
            unprivileged(&programs.join("initdb"))
                .arg("--pgdata")
                .arg(&data)
                .arg("--pwfile")
                .arg(directory.join("password"))
                .args(["--username", USER, "--auth-local=trust", "--auth-host=scram-sha-256"])
                .args(["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]),
        );
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = unprivileged(&programs.join("postgres"));
        server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        server.arg("-c").arg(format!("unix_socket_directories={}", directory.display()));
        server.args(["-c", "shared_buffers=32MB", "-c", "max_connections=300"]);
        let mut keeper = Command::new("sh");
        keeper
            .args(["-c", KEEPER, "keeper"])
            .arg(&directory)
            .arg(server.get_program())
            .args(server.get_args());
        keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut keeper = keeper.spawn().unwrap();
        let (orders, answers) = (keeper.stdin.take(), BufReader::new(keeper.stdout.take().unwrap()));
        let mut this = Self { port, directory, programs: programs.to_owned(), keeper, orders, answers };
        this.wait_until_ready().then_some(this)
    }

    /// `false`: it ended instead.
    fn wait_until_ready(&mut self) -> bool {
        let mut server = String::new();
        self.answers.read_line(&mut server).unwrap();
        let server = Path::new("/proc").join(server.trim()).join("cmdline");
        for _ in 0..READY_TRIES_MAX {
            let asked = self.psql("postgres", "SELECT 1").output().unwrap();
            if asked.status.success() {
                return true;
            }
            if fs::read(&server).unwrap_or_default().is_empty() {
                return false;
            }
            thread::park_timeout(Duration::from_millis(100));
        }
        panic!("no answer: {}", fs::read_to_string(self.directory.join("log")).unwrap_or_default());
    }

    fn psql(&self, database: &str, statement: &str) -> Command {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", USER, "-d", database]);
        command.arg("-h").arg(&self.directory).args(["-p", &self.port.to_string(), "-c", statement]);
        command
    }

    /// The address of a new, empty database.
    #[track_caller]
    pub fn new_database(&self) -> String {
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        succeed(&mut self.psql("postgres", &format!("CREATE DATABASE {name}")));
        self.address(&name, PASSWORD)
    }

    /// The address of a new, empty schema in a database that all schemas share: much cheaper than a database.
    #[track_caller]
    pub fn new_schema(&self) -> String {
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        succeed(&mut self.psql("postgres", &format!("CREATE SCHEMA {name}")));
        format!("{}?options[search_path]={name}", self.address("postgres", PASSWORD))
    }

    /// The address of a database of that name, with that password.
    pub fn address(&self, database: &str, password: &str) -> String {
        let mut address = String::new();
        let _ = write!(address, "postgres://{USER}:{password}@127.0.0.1:{}/{database}", self.port);
        address
    }

    /// What `psql` prints for a statement.
    #[track_caller]
    pub fn ask(&self, database: &str, statement: &str) -> String {
        let output = succeed(&mut self.psql(database, statement));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Kills the server without a chance to tidy up, and starts it again.
    #[track_caller]
    pub fn crash(&mut self) {
        self.orders.as_mut().unwrap().write_all(b"crash\n").unwrap();
        assert!(self.wait_until_ready(), "PostgreSQL does not come back");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.keeper.wait();
    }
}
