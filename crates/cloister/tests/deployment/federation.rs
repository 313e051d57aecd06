//! A federation in a temporary folder, and its processes.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// The final model in a run folder.
pub(crate) const MODEL: &str = "model.safetensors";

/// A process that is killed when it is dropped.
pub(crate) struct Process(Child);

impl Process {
    /// SIGKILL, as of a power cut for this process.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct Federation {
    _folder: tempfile::TempDir,
    pub(crate) dir: PathBuf,
    pub(crate) sites: Vec<String>,
    pub(crate) port: u16,
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn cloister() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
    command.env_remove("CLOISTER_KIT").stdin(Stdio::null());
    command
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Federation {
    /// With so many sites, each with one client's share of the digits.
    pub(crate) fn new(sites: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("clinics");
        let sites: Vec<String> = (0..sites).map(|place| format!("site-{place}")).collect();
        let made = cloister()
            .args(["federation", "init"])
            .arg(&dir)
            .args(["--operators", "olga", "--sites", &sites.join(",")])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", words(&made));
        let port = free_port();
        let federation = Self {
            _folder: folder,
            dir,
            sites,
            port,
        };
        federation.write("director/director.toml", &format!(
            "federation = \"clinics\"\nlisten = \"127.0.0.1:{port}\"\nthreads = 1\n[data.digits]\ntest = {{}}\nseed = 3\n"
        ));
        for (place, site) in federation.sites.iter().enumerate() {
            let count = federation.sites.len();
            federation.write(&format!("sites/{site}/envoy.toml"), &format!(
                "federation = \"clinics\"\nsite = \"{site}\"\ndirector = \"127.0.0.1:{port}\"\nthreads = 1\n\
                 [data.digits]\npartition = {{ kind = \"iid\" }}\n\
                 share = {{ client = \"client-{place}\", clients = {count}, seed = 3 }}\n\
                 [policy]\nrecording = \"allow\"\n"
            ));
        }
        federation
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.join(file), text).unwrap();
    }

    fn start(&self, arguments: &[&str], folder: &str) -> Process {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.join(format!("{}.log", folder.replace('/', "-"))));
        let child = cloister()
            .args(arguments)
            .arg("--dir")
            .arg(self.dir.join(folder))
            .stderr(log.unwrap())
            .stdout(Stdio::null())
            .spawn();
        Process(child.unwrap())
    }

    pub(crate) fn director(&self) -> Process {
        self.start(&["director"], "director")
    }

    pub(crate) fn envoy(&self, place: usize) -> Process {
        self.start(&["envoy"], &format!("sites/{}", self.sites[place]))
    }

    pub(crate) fn envoys(&self) -> Vec<Process> {
        (0..self.sites.len())
            .map(|place| self.envoy(place))
            .collect()
    }

    /// An operator's command; tried again while the director cannot be reached.
    pub(crate) fn operator(&self, arguments: &[&str]) -> Output {
        let mut last = None;
        for _ in 0..150 {
            let output = cloister()
                .args(arguments)
                .arg("--kit")
                .arg(self.dir.join("operators/olga"))
                .args(["--director", &format!("127.0.0.1:{}", self.port)])
                .output()
                .unwrap();
            if output.status.success() || !words(&output).contains("cannot reach the director") {
                return output;
            }
            last = Some(output);
            sleep(Duration::from_millis(100));
        }
        last.unwrap()
    }

    pub(crate) fn submit(&self, experiment: &str) -> u64 {
        self.write("experiment.toml", experiment);
        let config = self.dir.join("experiment.toml");
        let output = self.operator(&[
            "submit",
            config.to_str().unwrap(),
            "--sites",
            &self.sites.join(","),
        ]);
        assert!(output.status.success(), "{}", words(&output));
        String::from_utf8(output.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    }

    /// What the director says of an experiment.
    pub(crate) fn status(&self, id: u64) -> serde_json::Value {
        let output = self.operator(&["status", "--json"]);
        assert!(output.status.success(), "{}", words(&output));
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let experiments = status["experiments"].as_array().unwrap();
        experiments
            .iter()
            .find(|one| one["id"] == id)
            .unwrap()
            .clone()
    }

    pub(crate) fn is_over(&self, id: u64) -> bool {
        !matches!(
            self.status(id)["state"].as_str(),
            Some("offered" | "queued" | "running")
        )
    }

    /// Waits until so many rounds are done.
    pub(crate) fn wait_for_round(&self, id: u64, round: u64) {
        for _ in 0..600 {
            if self.status(id)["round"].as_u64().unwrap() >= round {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        panic!("still {}", self.status(id));
    }

    /// Waits until an experiment has finished.
    pub(crate) fn wait(&self, id: u64) {
        let mut last = serde_json::Value::Null;
        for _ in 0..600 {
            last = self.status(id);
            match last["state"].as_str().unwrap() {
                "finished" => return,
                "offered" | "queued" | "running" => sleep(Duration::from_millis(100)),
                other => panic!("{other}: {last}"),
            }
        }
        let logs = fs::read_dir(&self.dir).unwrap().flatten();
        for log in logs.filter(|entry| entry.path().extension().is_some_and(|end| end == "log")) {
            eprintln!(
                "{}:\n{}",
                log.path().display(),
                fs::read_to_string(log.path()).unwrap()
            );
        }
        panic!("still {last}");
    }

    pub(crate) fn fetch(&self, id: u64) -> PathBuf {
        let out = self.dir.join(format!("fetched-{id}"));
        let output = self.operator(&["fetch", &id.to_string(), "--out", out.to_str().unwrap()]);
        assert!(output.status.success(), "{}", words(&output));
        out
    }

    pub(crate) fn simulate(&self, experiment: &str) -> PathBuf {
        self.write("simulated.toml", experiment);
        let out = tempfile::tempdir_in(&self.dir).unwrap().keep().join("run");
        let output = cloister()
            .args(["simulate", "--quiet", "--threads", "1", "--out"])
            .arg(&out)
            .arg(self.dir.join("simulated.toml"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", words(&output));
        out
    }

    pub(crate) fn model(folder: &Path) -> Vec<u8> {
        fs::read(folder.join(MODEL)).unwrap()
    }
}
