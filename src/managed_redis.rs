//! A `redis-server` child of our own: private unix socket, a loopback port, its own folder, appendonly.
//!
//! It must not outlive us, also when we are killed with SIGKILL. The kernel can promise that (`PR_SET_PDEATHSIG`), but
//! only a process can ask for it for itself, between fork and exec, which safe Rust does not let us do. So the child is
//! started through our own program: `trapline leash <pid> -- redis-server …` ([`leash`]) asks, checks that the parent
//! still is the parent, and becomes redis-server by `exec`. Without a trapline binary (unit tests) the child is plain
//! and only killed on drop.
//!
//! The promise is tied to the *thread* that started the child: the kernel signals when that thread ends. Call
//! [`ManagedRedis::start`] from a thread that lives as long as Redis should, e.g. main; not from an arbiter or a pool.

use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A unix socket's path has to be shorter.
const SOCKET_PATH_MAX: usize = 107;
const READY_LIMIT: Duration = Duration::from_secs(10);
/// Ports that are tried.
const TRIES: u32 = 3;
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Settings of the child.
#[derive(Clone, Debug, Default)]
pub struct ManagedRedisSettings {
    /// A redis-server to use instead of the one that is found.
    pub binary: Option<PathBuf>,
    /// Data and log of the child; created if missing.
    pub folder: PathBuf,
    /// The trapline program, for the leash; `None`: no leash.
    pub leash: Option<PathBuf>,
    /// More arguments for redis-server.
    pub args: Vec<String>,
    /// Longest wait for the first answer; `None`: ten seconds, enough for an empty one.
    pub ready_limit: Option<Duration>,
}

/// Why there is no Redis of our own, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ManagedRedisError {
    #[error(
        "no redis-server found: install one (`sudo apt-get install -y redis-server` or `brew install redis`), or name \
         it with --redis-bin"
    )]
    NotFound,
    #[error("the folder {folder} cannot be used: {error}")]
    Folder { folder: PathBuf, error: io::Error },
    #[error("{binary} cannot be started: {error}")]
    Start { binary: PathBuf, error: io::Error },
    #[error("redis-server ended before it was ready; its log is {log}:\n{tail}")]
    Ended { log: PathBuf, tail: String },
    #[error("redis-server was not ready within {} s; its log is {log}", limit.as_secs())]
    NotReady { log: PathBuf, limit: Duration },
}

/// A running child; killed on drop.
#[derive(Debug)]
pub struct ManagedRedis {
    child: Child,
    socket: PathBuf,
    port: u16,
    binary: PathBuf,
    /// The socket's folder, where the data folder's path is too long for one.
    _short: Option<ShortFolder>,
}

#[derive(Debug)]
struct ShortFolder(PathBuf);

impl Drop for ShortFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The server to use: the one named, then `redis-server` or `valkey-server` on the path, then a cached copy.
pub fn find_binary(named: Option<&Path>) -> Option<PathBuf> {
    if let Some(named) = named {
        return named.exists().then(|| named.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let on_path =
        std::env::split_paths(&path).flat_map(|folder| ["redis-server", "valkey-server"].map(|name| folder.join(name)));
    on_path.chain(cache.map(|c| c.join("trapline/redis-server"))).find(|file| file.is_file())
}

impl ManagedRedis {
    /// Starts the child and waits until it answers. Blocks. See the module's text for which thread to use.
    pub fn start(settings: &ManagedRedisSettings) -> Result<Self, ManagedRedisError> {
        Self::start_at(settings, free_port)
    }

    fn start_at(settings: &ManagedRedisSettings, mut port: impl FnMut() -> u16) -> Result<Self, ManagedRedisError> {
        for _ in 1..TRIES {
            match Self::launch(settings, port()) {
                // Somebody may have taken the port in between; whatever else it was comes again.
                Err(ManagedRedisError::Ended { .. }) => {}
                done => return done,
            }
        }
        Self::launch(settings, port())
    }

    fn launch(settings: &ManagedRedisSettings, port: u16) -> Result<Self, ManagedRedisError> {
        let binary = find_binary(settings.binary.as_deref()).ok_or(ManagedRedisError::NotFound)?;
        let folder = prepare(&settings.folder)?;
        let (socket, short) = socket_path(&folder)?;
        let log = folder.join("redis.log");
        let mut args: Vec<OsString> = [
            "--bind",
            "127.0.0.1 -::1",
            "--port",
            &port.to_string(),
            "--unixsocketperm",
            "700",
            "--appendonly",
            "yes",
            "--appendfsync",
            "everysec",
            "--save",
            "",
            "--daemonize",
            "no",
            "--protected-mode",
            "yes",
            "--dbfilename",
            "dump.rdb",
            "--maxmemory-policy",
            "noeviction",
        ]
        .iter()
        .map(OsString::from)
        .collect();
        for (name, value) in [("--unixsocket", &socket), ("--dir", &folder), ("--logfile", &log)] {
            args.push(name.into());
            args.push(value.into());
        }
        args.extend(settings.args.iter().map(OsString::from));
        let mut command = match &settings.leash {
            Some(trapline) => {
                let mut command = Command::new(trapline);
                command.arg("leash").arg(std::process::id().to_string()).arg("--").arg(&binary);
                command
            }
            None => Command::new(&binary),
        };
        let _ = std::fs::remove_file(&socket);
        // A group of its own: Ctrl-C in the terminal stops us, and we stop Redis when the last value is written.
        let child = command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| ManagedRedisError::Start { binary: binary.clone(), error })?;
        let mut managed = Self { child, socket, port, binary, _short: short };
        managed.wait_ready(&log, settings.ready_limit.unwrap_or(READY_LIMIT))?;
        Ok(managed)
    }

    fn wait_ready(&mut self, log: &Path, limit: Duration) -> Result<(), ManagedRedisError> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if ping(&self.socket) {
                return Ok(());
            }
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                let text = std::fs::read_to_string(log).unwrap_or_default();
                let lines: Vec<&str> = text.lines().rev().take(5).collect();
                let tail = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
                return Err(ManagedRedisError::Ended { log: log.to_owned(), tail });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(ManagedRedisError::NotReady { log: log.to_owned(), limit })
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Loopback port; 0 where none was free.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn binary(&self) -> &Path {
        &self.binary
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// For the writer.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// For people: how to look inside.
    pub fn cli_hint(&self) -> String {
        format!("redis-cli -s {}", self.socket.display())
    }

    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it in order: it writes what is in its append-only file's buffer.
    pub fn stop(mut self) {
        self.terminate();
    }

    fn terminate(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw)
            && self.is_alive()
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let until = Instant::now() + STOP_LIMIT;
            while self.is_alive() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Drop for ManagedRedis {
    fn drop(&mut self) {
        self.terminate();
    }
}

fn prepare(folder: &Path) -> Result<PathBuf, ManagedRedisError> {
    let wrong = |error| ManagedRedisError::Folder { folder: folder.to_owned(), error };
    std::fs::create_dir_all(folder).map_err(wrong)?;
    std::fs::canonicalize(folder).map_err(wrong)
}

fn socket_path(folder: &Path) -> Result<(PathBuf, Option<ShortFolder>), ManagedRedisError> {
    let near = folder.join("redis.sock");
    if near.as_os_str().len() <= SOCKET_PATH_MAX {
        return Ok((near, None));
    }
    let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    let base = if base.as_os_str().len() > 60 { PathBuf::from("/tmp") } else { base };
    let wrong = |error| ManagedRedisError::Folder { folder: base.clone(), error };
    for n in 0..1_000 {
        let short = base.join(format!("trapline-{}-{n}", std::process::id()));
        match std::fs::create_dir(&short) {
            Ok(()) => {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
                std::fs::set_permissions(&short, mode).map_err(wrong)?;
                return Ok((short.join("redis.sock"), Some(ShortFolder(short))));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(wrong(error)),
        }
    }
    Err(wrong(io::Error::from(io::ErrorKind::AlreadyExists)))
}

/// A port that was free a moment ago; 0 (no TCP) where there is none.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).map_or(0, |a| a.port())
}

fn ping(socket: &Path) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let limit = Some(Duration::from_millis(500));
    let mut answer = [0; 7];
    stream.set_read_timeout(limit).is_ok()
        && stream.write_all(b"PING\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && &answer == b"+PONG\r\n"
}

/// `trapline leash <parent pid> -- program args…`: becomes `program`, which dies with the parent. Returns only when
/// that is not possible, with the reason.
pub fn leash(args: &[OsString]) -> io::Error {
    let wrong = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
    let [parent, dashes, program, rest @ ..] = args else {
        return wrong("usage: trapline leash <parent pid> -- <program> [args]");
    };
    let parent = parent.to_str().and_then(|text| text.parse::<i32>().ok());
    let (Some(parent), true) = (parent, dashes == "--") else {
        return wrong("usage: trapline leash <parent pid> -- <program> [args]");
    };
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)) {
        return error.into();
    }
    // The parent may have died before the kernel was asked.
    if rustix::process::getppid().map(rustix::process::Pid::as_raw_nonzero).map(std::num::NonZero::get) != Some(parent)
    {
        return io::Error::other("the parent has gone");
    }
    Command::new(program).args(rest).exec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_answers_and_goes_with_its_owner() {
        let Some(binary) = find_binary(None) else {
            assert!(std::env::var_os("TRAPLINE_REQUIRE_REDIS").is_none(), "redis-server is missing");
            eprintln!("SKIPPED: no redis-server");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        // Deep enough that the socket needs a shorter place.
        let deep = folder.path().join("a".repeat(120));
        let settings = ManagedRedisSettings { folder: deep, ..ManagedRedisSettings::default() };
        let mut redis = ManagedRedis::start(&settings).unwrap();
        assert_eq!(redis.binary(), binary);
        assert!(redis.is_alive() && ping(redis.socket()) && redis.port() > 0);
        assert!(redis.socket().as_os_str().len() <= SOCKET_PATH_MAX);
        let socket = redis.socket().to_owned();
        drop(redis);
        assert!(!ping(&socket) && !socket.exists());
    }

    #[test]
    fn a_port_that_somebody_took_in_between_is_not_insisted_on() {
        if find_binary(None).is_none() {
            assert!(std::env::var_os("TRAPLINE_REQUIRE_REDIS").is_none(), "redis-server is missing");
            eprintln!("SKIPPED: no redis-server");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let settings = ManagedRedisSettings { folder: folder.path().to_owned(), ..ManagedRedisSettings::default() };
        let other = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let taken = other.local_addr().unwrap().port();
        let mut ports = [taken].into_iter();
        let mut redis = ManagedRedis::start_at(&settings, || ports.next().unwrap_or_else(free_port)).unwrap();
        assert!(redis.is_alive() && redis.port() != taken);
        assert!(matches!(ManagedRedis::start_at(&settings, || taken), Err(ManagedRedisError::Ended { .. })));
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = ManagedRedisSettings {
            folder: folder.path().to_owned(),
            binary: Some(folder.path().join("nothing")),
            ..ManagedRedisSettings::default()
        };
        assert!(matches!(ManagedRedis::start(&settings), Err(ManagedRedisError::NotFound)));
        if find_binary(None).is_some() {
            settings.binary = None;
            settings.args = vec!["--no-such-option".to_owned(), "1".to_owned()];
            assert!(matches!(ManagedRedis::start(&settings), Err(ManagedRedisError::Ended { .. })));
        }
    }

    const ROLE: &str = "TRAPLINE_TEST_LEASH_ROLE";
    const SELF: &str = "managed_redis::tests::a_leashed_child_dies_with_its_parent";

    /// This test is three processes: itself, a parent that is killed, and a child on the parent's leash.
    #[test]
    fn a_leashed_child_dies_with_its_parent() {
        let me = std::env::current_exe().unwrap();
        let role = |role: &str| {
            let mut command = Command::new(&me);
            command.args(["--exact", SELF, "--nocapture"]).env(ROLE, role).stdin(Stdio::null());
            command
        };
        match std::env::var(ROLE).as_deref() {
            Ok("parent") => {
                let mut child = role(&format!("leash {}", std::process::id())).stdout(Stdio::null()).spawn().unwrap();
                println!("\nchild {}", child.id());
                let _ = child.wait();
            }
            Ok(leashed) => {
                let parent = leashed.strip_prefix("leash ").unwrap();
                let error = leash(&[parent.into(), "--".into(), "sleep".into(), "600".into()]);
                panic!("not leashed: {error}");
            }
            Err(_) => {
                let mut parent = role("parent").stdout(Stdio::piped()).spawn().unwrap();
                let lines = io::BufRead::lines(io::BufReader::new(parent.stdout.take().unwrap()));
                let child =
                    lines.map_while(Result::ok).find_map(|l| l.strip_prefix("child ").map(str::to_owned)).unwrap();
                let name = || std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
                wait(|| name() == "sleep\n");
                parent.kill().unwrap();
                parent.wait().unwrap();
                wait(|| name() != "sleep\n");
            }
        }
    }

    fn wait(mut met: impl FnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !met() {
            assert!(Instant::now() < until, "never");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_leash_checks_who_holds_it() {
        let args = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(leash(&args(&["1"])).kind(), io::ErrorKind::InvalidInput);
        assert_eq!(leash(&args(&["x", "--", "true"])).kind(), io::ErrorKind::InvalidInput);
    }
}
