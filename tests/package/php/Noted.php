<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Tests\Package;

use Jsocketd\Component\Websockets\Administrator\Publish\Event;
use Jsocketd\Component\Websockets\Administrator\Publish\Outbox;

/**
 * An outbox that stores the events.
 */
class Noted extends Outbox
{
    /** @var  Event[] */
    public array $events = [];

    public int $inserts = 0;

    public int $positions = 0;

    public function __construct(public ?\Throwable $failure = null, public ?string $position = 'o0000002a:7')
    {
    }

    public function insert(Event ...$events): void
    {
        if ($this->failure !== null) {
            throw $this->failure;
        }

        $this->inserts++;
        $this->events = [...$this->events, ...$events];
    }

    public function position(): ?string
    {
        $this->positions++;

        return $this->position;
    }

    public function upkeep(): void
    {
    }
}
