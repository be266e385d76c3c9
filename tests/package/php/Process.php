<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Tests\Package;

/**
 * A process of a test: its first line of output, its later output, and its end with the test.
 */
final class Process
{
    /** @var  resource */
    private $process;

    private array $pipes = [];

    public readonly string $first;

    public function __construct(string ...$command)
    {
        // The server reads such variables as its configuration, and refuses unknown ones.
        $environment   = array_filter(getenv(), static fn (string $name): bool => !str_starts_with($name, 'JSOCKETD_'), ARRAY_FILTER_USE_KEY);
        $this->process = proc_open($command, [['pipe', 'r'], ['pipe', 'w'], ['file', '/dev/null', 'w']], $this->pipes, null, $environment);
        $this->first   = trim((string) fgets($this->pipes[1]));
    }

    /** Its output until it ends, or the next line. */
    public function rest(): string
    {
        fclose($this->pipes[0]);

        return stream_get_contents($this->pipes[1]);
    }

    public function __destruct()
    {
        proc_terminate($this->process, 9);
        proc_close($this->process);
    }
}
