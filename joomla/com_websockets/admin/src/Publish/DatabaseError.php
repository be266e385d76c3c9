<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Publish;

\defined('_JEXEC') or die;

/**
 * The reason why the database refused a statement, by the number of its error. Joomla's driver for mysqli has that
 * number as the code of its exceptions. The driver for PDO has it only in the message.
 *
 * @since  0.2.0
 */
final class DatabaseError
{
    /** A lock, a deadlock, a statement that took too long (MariaDB, MySQL), a locked row (MySQL). */
    private const BUSY = [1205, 1213, 1969, 3024, 3572];

    /** SET TRANSACTION was refused, because a transaction is open. */
    private const IN_TRANSACTION = 1568;

    /** Denied: the database, the table, the column, or a privilege of the server. */
    private const DENIED = [1044, 1142, 1143, 1227];

    private readonly int $number;

    public function __construct(\Throwable $error)
    {
        $pdo          = '/^(?:SQLSTATE\[\w{5}\][^:]*: [^:]*: |\w{5}, )(\d+)[, ]/';
        $isPdo        = preg_match($pdo, $error->getMessage(), $found);
        $this->number = $isPdo ? (int) $found[1] : (int) $error->getCode();
    }

    /** Whether the same statement may succeed a little later. */
    public function isBusy(): bool
    {
        return \in_array($this->number, self::BUSY, true);
    }

    public function isOpenTransaction(): bool
    {
        return $this->number === self::IN_TRANSACTION;
    }

    public function isDenied(): bool
    {
        return \in_array($this->number, self::DENIED, true);
    }
}
