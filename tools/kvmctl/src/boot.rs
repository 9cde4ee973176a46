//! boot, and the plan of one: the guest as the record describes it, in place of this process.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use kvm_hotplug::boot::{BootCommand, BootPlan, BootRequest, FIRST_FD};
use kvm_hotplug::model::Machine;
use kvm_hotplug::sys::descriptor::duplicate;
use kvm_hotplug::sys::inherit;
use kvm_hotplug::{Error, ErrorKind};
use serde::Serialize;

use crate::cli::{BootArguments, values};
use crate::failure::{Result, Status};
use crate::request::secret;
use crate::session::Session;

/// Root ports that are left for devices to come, unless it is said otherwise.
const SPARE_PORTS: u32 = 4;

#[derive(Serialize)]
struct Plan {
    machine: &'static str,
    devices: usize,
    free: usize,
    ports: usize,
    new_ports: usize,
    bridges: usize,
    new_bridges: usize,
}

fn spare_ports(given: Option<u32>) -> usize {
    let ports = given.filter(|ports| *ports > 0).unwrap_or(SPARE_PORTS);
    usize::try_from(ports).unwrap_or(usize::MAX)
}

pub(crate) fn boot(session: &mut Session<'_>, arguments: BootArguments) -> Result<Status> {
    let request = BootRequest {
        spare_ports: if arguments.incoming.is_none() { spare_ports(arguments.spare_ports) } else { 0 },
        incoming: arguments.incoming.map(Into::into),
        qemu: None,
        fd_base: FIRST_FD,
        paused: arguments.paused,
        monitor: session.common.socket.as_ref().map(PathBuf::from),
        listen_at: arguments.monitor.map(PathBuf::from),
    };
    for values::GivenTap { nic, fds } in &arguments.tap {
        let queues = fds.iter().map(|fd| duplicate(*fd, &format!("--tap {nic}")));
        let queues = queues.collect::<kvm_hotplug::error::Result<Vec<_>>>()?;
        session.record()?.give_tap(nic, queues)?;
    }
    for (disk, file) in &arguments.secret {
        session.record()?.give_secret(disk, &file.name, secret(file)?)?;
    }
    if arguments.print {
        let command = session.record()?.plan_command(request)?;
        match session.output.json {
            true => session.output.document(&command.argv),
            false => command.argv.iter().for_each(|argument| session.output.line(argument)),
        }
        return Ok(Status::Done);
    }
    let command = session.record()?.boot_command(request)?;
    session.close_record();
    session.output.flush();
    Err(become_qemu(&command).into())
}

/// Returns only if it fails.
fn become_qemu(command: &BootCommand) -> Error {
    let mut arguments = command.argv.iter();
    let program = arguments.next().map_or("", String::as_str);
    let failed = |error: std::io::Error| {
        let number = error.raw_os_error().unwrap_or_default();
        Error::host(error, format!("cannot start {program}")).with_kind(ErrorKind::Host).with_errno(number)
    };
    let first = i32::try_from(command.fd_base).unwrap_or(i32::MAX);
    // No descriptor has a number that another one is put at: they have all been moved out of the way.
    for (fd, number) in command.fds.iter().zip(first..) {
        if let Err(errno) = inherit::place(fd, number) {
            return failed(errno.into());
        }
    }
    failed(Command::new(program).args(arguments).exec())
}

/// How full the next boot will be.
pub(crate) fn plan(session: &mut Session<'_>, ports: Option<u32>) -> Result<Status> {
    let plan = session.record()?.boot_plan(spare_ports(ports))?;
    let machine = match plan.machine {
        Machine::Conventional => "pc",
        Machine::Express => "q35",
        Machine::Other => "other",
    };
    let (devices, free) = (plan.devices, plan.free);
    if session.output.json {
        let BootPlan { ports, new_ports, bridges, new_bridges, .. } = plan;
        let plan = Plan { machine, devices, free, ports, new_ports, bridges, new_bridges };
        session.output.document(&plan);
        return Ok(Status::Done);
    }
    session.output.line(&format!("{devices} devices, and room for {free} more"));
    if plan.ports > 0 {
        session.output.line(&format!("{} root ports, {} of them new", plan.ports, plan.new_ports));
    }
    if plan.bridges > 0 {
        session.output.line(&format!("{} PCI bridges, {} of them new", plan.bridges, plan.new_bridges));
    }
    Ok(Status::Done)
}
