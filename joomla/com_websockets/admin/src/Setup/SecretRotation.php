<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Setup;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * A change of the app's secret. The new secret is random. The old one stays valid for a while, so that programs that
 * sign with it have time to get the new one. There is only one old secret: a second rotation ends the first one at
 * once.
 *
 * @since  0.1.0
 */
final class SecretRotation
{
    /** Seconds for which the old secret stays valid. */
    public const GRACE = 600;

    /** The end of the old secret, in Unix seconds. */
    public readonly int $until;

    /**
     * @param   integer  $now  The time, in Unix seconds
     *
     * @since   0.1.0
     */
    public function __construct(int $now)
    {
        $this->until = $now + self::GRACE;
    }

    /**
     * The options after the rotation. All other options stay as they are.
     *
     * @param   array  $params  The options before the rotation
     *
     * @return  array
     *
     * @since   0.1.0
     */
    public function applyTo(array $params): array
    {
        $old = $params['app_secret'] ?? '';

        return [
            'app_secret'           => bin2hex(random_bytes(16)),
            'app_secret_old'       => \is_string($old) ? $old : '',
            'app_secret_old_until' => $this->until,
        ] + $params;
    }
}
