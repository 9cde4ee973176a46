//! What the terminal can show, and a line while something is waited for.

use std::env;
use std::ffi::OsStr;
use std::io::{IsTerminal, stderr, stdout};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kvm_hotplug::mutex::lock;
use rustix::termios::tcgetwinsize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    None,
    Nic,
    Disk,
    Pending,
    Dim,
}

#[derive(Debug, Default)]
pub(crate) struct Terminal {
    /// The locale's characters include those that draw boxes.
    pub(crate) boxes: bool,
    /// stdout is a terminal that has colours, and nobody asked for none.
    colours: bool,
    /// A line on stderr can be drawn again, and is seen by who sees stdout.
    redraws: bool,
    /// How wide stdout is; `None` if it is no terminal.
    pub(crate) columns: Option<u16>,
    /// The line that is waited with.
    shown: Mutex<Option<ProgressBar>>,
}

fn variable(name: &str) -> Option<String> {
    env::var_os(name).filter(|value| !value.is_empty()).map(|value| value.to_string_lossy().into_owned())
}

/// One that does nothing but show text is called "dumb"; without a name nothing is known of it.
fn takes_sequences() -> bool {
    env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != OsStr::new("dumb"))
}

/// By the first of the variables that has a value.
fn speaks_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

fn columns() -> u16 {
    let given = variable("COLUMNS").and_then(|columns| columns.parse().ok());
    let own = || tcgetwinsize(stdout()).ok().map(|size| size.ws_col);
    given.filter(|columns| *columns > 0).or_else(own).filter(|columns| *columns > 0).unwrap_or(80)
}

impl Terminal {
    pub(crate) fn look(plain: bool) -> Self {
        let is_terminal = stdout().is_terminal();
        let screen = is_terminal && !plain;
        let sequences = screen && takes_sequences();
        Self {
            boxes: screen && speaks_utf8(),
            colours: sequences && variable("NO_COLOR").is_none(),
            redraws: sequences && stderr().is_terminal(),
            columns: is_terminal.then(columns),
            shown: Mutex::new(None),
        }
    }

    /// Text in a colour, if there are colours.
    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        let sequence = match colour {
            Colour::None => return text.to_owned(),
            _ if !self.colours => return text.to_owned(),
            Colour::Nic => "1;32",
            Colour::Disk => "1;36",
            Colour::Pending => "1;33",
            Colour::Dim => "2",
        };
        format!("\x1b[{sequence}m{text}\x1b[0m")
    }

    /// Writes something while the line that is waited with is off the screen.
    pub(crate) fn beside_line(&self, write: impl FnOnce()) {
        let shown = lock(&self.shown).clone();
        match shown {
            None => write(),
            Some(line) => line.suspend(write),
        }
    }

    /// Shows on stderr that something is waited for, where a terminal can. Nothing elsewhere.
    pub(crate) fn wait(&self, text: &'static str) -> Waiting<'_> {
        let line = self.redraws.then(|| {
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {wide_msg}");
            line.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()).tick_chars("|/-\\ "))
        });
        lock(&self.shown).clone_from(&line);
        Waiting { terminal: self, line, text, start: Instant::now() }
    }
}

/// A line that is drawn again and again, until this is dropped.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    terminal: &'a Terminal,
    line: Option<ProgressBar>,
    text: &'static str,
    start: Instant,
}

impl Waiting<'_> {
    pub(crate) fn passed(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn tick(&self) {
        if let Some(line) = &self.line {
            line.set_message(format!("{} {:.1} s", self.text, self.passed().as_secs_f64()));
            line.tick();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
        *lock(&self.terminal.shown) = None;
    }
}
