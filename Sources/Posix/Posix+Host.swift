import Glibc

/// The name of this host, as lock files and message names carry it.
package func hostName() -> [UInt8] {
    var name = [CChar](repeating: 0, count: 256)
    guard unsafe gethostname(&name, name.count - 1) == 0 else { return [UInt8]("localhost".utf8) }
    return name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
}

/// Whether a process of this number runs on this host, whoever owns it. Not for 0 and below, which
/// name groups: those are said to run.
package func processExists(_ processID: Int32) -> Bool {
    guard processID > 0 else { return true }
    return kill(processID, 0) == 0 || errno != ESRCH
}

/// Which start of this machine it is; empty where the kernel does not tell.
package func hostBootID() -> [UInt8] {
    let name = [UInt8]("boot_id".utf8)
    guard
        let directory = try? Directory(path: [UInt8]("/proc/sys/kernel/random".utf8)),
        let text = try? directory.readFile(name, max: 64)
    else { return [] }
    return text.filter { $0 > 0x20 && $0 < 0x7F }
}

package var ownProcessID: Int32 { getpid() }
