import Glibc

@main
enum Main {
    static func main() {
        var arguments = CommandLine.arguments.dropFirst()
        let command = arguments.popFirst() ?? "--help"
        if command == "--help" || command == "-h" || arguments.contains("--help") {
            print(Options.help, terminator: "")
            return
        }
        var wrong = command
        guard ["run", "corpus"].contains(command),
            let options = Options.parse(arguments, wrong: &wrong)
        else { fail("\(wrong) is not understood; see martlet-bench --help", status: 64) }
        do throws(BenchError) {
            command == "run" ? try run(options) : try makeCorpus(options)
        } catch {
            fail(error.description, status: 1)
        }
    }

    private static func fail(_ message: String, status: Int32) -> Never {
        let line = Array("martlet-bench: \(message)\n".utf8)
        _ = write(2, line, line.count)
        exit(status)
    }

    private static func makeCorpus(_ options: Options) throws(BenchError) {
        guard !options.out.isEmpty else { throw BenchError("--out is missing") }
        let corpus = Corpus(kind: options.kind, seed: options.seed)
        let bytes = try corpus.write(
            to: options.out,
            count: options.messages,
            owner: options.owner
        )
        let mean = bytes / max(options.messages, 1)
        print("corpus=\(options.out) messages=\(options.messages) bytes=\(bytes) mean=\(mean)")
    }

    private static func run(_ options: Options) throws(BenchError) {
        guard !options.target.users.isEmpty || options.measures == ["greet"] else {
            throw BenchError("--user is missing")
        }
        guard !options.measures.isEmpty else { throw BenchError("no measure is named") }
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        let bench = Bench(options)
        for measure in options.measures { try bench.run(measure) }
        bench.report.printTable()
    }
}
