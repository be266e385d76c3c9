<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Tests\Package;

use Joomla\CMS\Factory;
use Joomla\CMS\Installer\InstallerAdapter;
use PHPUnit\Framework\TestCase;

/**
 * The scripts of the installation: requirements, credentials, and the rest after an uninstallation. tests/joomla/run
 * installs on a real site.
 */
final class InstallTest extends TestCase
{
    private const EXTENSIONS = "CREATE TABLE #__extensions (type VARCHAR(20), folder VARCHAR(20), element VARCHAR(50), enabled INT, params TEXT);
        INSERT INTO #__extensions VALUES ('component', '', 'com_websockets', 1, '{}'), ('plugin', 'system', 'websockets', 0, '{}'),
            ('component', '', 'com_content', 1, '{}'), ('plugin', 'system', 'cache', 0, '{}')";

    protected function tearDown(): void
    {
        Database::closeAll();
    }

    /** @return  array<string, array> */
    public function sites(): array
    {
        return [
            'the oldest that is known'  => ['8.1.0', '4.4.0', 'mysql', '8.0.13', null],
            'of a distribution'         => ['8.2.7', '5.3.2', 'mysql', '8.0.35-0ubuntu0.22.04.1', null],
            'MariaDB'                   => ['8.4.1', '6.1.0', 'mysql', '10.11.6-MariaDB-0+deb12u1', null],
            'MariaDB as it tells PHP'   => ['8.4.1', '6.1.0', 'mysql', '5.5.5-10.4.32-MariaDB', null],
            'an old PHP'                => ['8.0.30', '4.4.0', 'mysql', '8.0.35', 'PHP 8.1.0'],
            'an old Joomla'             => ['8.1.0', '4.3.4', 'mysql', '8.0.35', 'Joomla 4.4.0'],
            'PostgreSQL'                => ['8.1.0', '4.4.0', 'postgresql', '16.1', 'MySQL or MariaDB'],
            'an old MySQL'              => ['8.1.0', '4.4.0', 'mysql', '8.0.12', 'MySQL 8.0.13'],
            'MySQL 5.7'                 => ['8.1.0', '4.4.0', 'mysql', '5.7.44-log', 'MySQL 8.0.13'],
            'an old MariaDB'            => ['8.1.0', '4.4.0', 'mysql', '10.3.39-MariaDB', 'MariaDB 10.4.0'],
            'an old MariaDB for PHP'    => ['8.1.0', '4.4.0', 'mysql', '5.5.5-10.3.39-MariaDB', 'MariaDB 10.4.0'],
            'no version at all'         => ['8.1.0', '4.4.0', 'mysql', '', 'MySQL 8.0.13'],
        ];
    }

    /** @dataProvider sites */
    public function testWhoIsRefused(string $php, string $joomla, string $type, string $version, ?string $why): void
    {
        $db = new class ($type, $version) extends Rows {
            public function __construct(private string $type, private string $version)
            {
            }

            public function getServerType()
            {
                return $this->type;
            }

            public function getVersion()
            {
                return $this->version;
            }
        };
        $refusal = (require JOOMLA_PACKAGE . '/script.php')->refusal($php, $joomla, $db);
        $why === null ? $this->assertNull($refusal) : $this->assertStringContainsString($why, $refusal);
    }

    public function testThePluginIsEnabledOnceAndNothingElse(): void
    {
        $script = require JOOMLA_PACKAGE . '/script.php';
        Factory::$application = new class () {
            public array $said = [];

            public function enqueueMessage($message, $type)
            {
                $this->said[] = $type;
            }
        };

        foreach (['install' => '1', 'discover_install' => '1', 'update' => '0', 'uninstall' => '0'] as $type => $enabled) {
            Factory::$database = (new Database('package_install'))->run(self::EXTENSIONS);
            $this->assertTrue($script->postflight($type, new InstallerAdapter()));
            $rows = Factory::$database->rows("SELECT element, enabled FROM #__extensions WHERE type = 'plugin' ORDER BY element");
            $this->assertSame([['element' => 'cache', 'enabled' => '0'], ['element' => 'websockets', 'enabled' => $enabled]], $rows, $type);
        }

        $this->assertSame(['notice', 'notice'], Factory::$application->said);
    }

    public function testCredentialsAreMadeOnceAndKept(): void
    {
        $script = require JOOMLA_PACKAGE . '/com_websockets/script.php';
        $made   = [];

        foreach ([1, 2] as $site) {
            Factory::$database = (new Database('package_install'))->run(self::EXTENSIONS)
                ->run("UPDATE #__extensions SET params = '{\"load\":\"members\"}' WHERE element = 'com_websockets'");
            $script->postflight('install', new InstallerAdapter());
            $params = $this->params();
            $script->postflight('update', new InstallerAdapter());
            $this->assertSame($params, $this->params());
            $this->assertSame('members', $params['load']);
            $this->assertMatchesRegularExpression('/^site-[0-9a-f]{8}$/', $params['app_id']);
            $this->assertMatchesRegularExpression('/^[0-9a-f]{32}$/', $params['app_key']);
            $this->assertMatchesRegularExpression('/^[0-9a-f]{32}$/', $params['app_secret']);
            $made = [...$made, $params['app_id'], $params['app_key'], $params['app_secret']];
        }

        $this->assertCount(6, array_unique($made));
        $this->assertSame('{}', Factory::$database->rows("SELECT params FROM #__extensions WHERE element = 'com_content'")[0]['params']);
    }

    public function testTablesOfVersion1AreUpdatedBeforeAnyFileIsChanged(): void
    {
        $script  = require JOOMLA_PACKAGE . '/com_websockets/script.php';
        $adapter = new InstallerAdapter();

        foreach (['update', 'install', 'discover_install'] as $type) {
            Factory::$database = (new Database('package_install'))->installVersion1()->run(
                "INSERT INTO #__websockets_outbox (channel, event, data, created) VALUES ('a', 'e', '1', NOW(3))"
            );
            $this->assertTrue($script->preflight($type, $adapter));
            $position = Factory::$database->position();
            $this->assertMatchesRegularExpression('/^o[0-9a-f]{8}:1\.[0-9a-z]+$/D', $position, $type);
        }

        Factory::$database = (new Database('package_install'))->installVersion1();
        $this->assertTrue($script->preflight('uninstall', $adapter));
        $this->assertNull(Factory::$database->position());

        // There is no table yet, or the one with the rows is missing.
        Factory::$database = new Database('package_install');
        $this->assertTrue($script->preflight('install', $adapter));
        Factory::$database->install();
        $this->assertTrue($script->install($adapter));
        Factory::$database = (new Database('package_install'))->installVersion1()
            ->run('DROP TABLE #__websockets_outbox');
        $this->assertTrue($script->preflight('update', $adapter));
        $adapter->sql = static fn () => Factory::$database->install();
        $this->assertTrue($script->update($adapter));
        $this->assertSame('2', Factory::$database->state('schema'));
        $adapter->sql = static fn () => false;
        $this->assertFalse($script->update($adapter));
    }

    public function testAnUpdateThatCannotBeSaysWhyAndStopsTheInstallation(): void
    {
        $script = require JOOMLA_PACKAGE . '/com_websockets/script.php';

        foreach (
            [
                'a transaction or a backup has locked its tables for 40 seconds' => [1205, 'Lock wait timeout exceeded'],
                'Grant it ALTER, CREATE and INSERT'                              => [1142, 'ALTER command denied'],
                'its tables could not be changed'                                => [1030, 'Got error 28'],
                'Install the package again to continue'                          => [0, 'HY000, 1030, Got error 28'],
                // The messages of the driver for PDO.
                'a backup'                    => [0, 'HY000, 1205, Lock wait timeout exceeded; try restarting transaction'],
                'with these privileges. Then' => [42000, '42000, 1142, ALTER command denied to user'],
            ] as $words => [$code, $says]
        ) {
            Factory::$database = new class ($says, $code) extends Rows {
                public function __construct(private string $says, private int $code)
                {
                }

                public function setQuery($query, $offset = 0, $limit = 0)
                {
                    throw new \RuntimeException($this->says, $this->code);
                }
            };
            Factory::$application = new class () {
                public array $said = [];

                public function enqueueMessage($message, $type)
                {
                    $this->said[] = "$type: $message";
                }
            };
            $this->assertFalse($script->preflight('update', new InstallerAdapter()));
            $this->assertCount(1, Factory::$application->said);
            $this->assertStringStartsWith('error: Websockets was not updated', Factory::$application->said[0]);
            $this->assertStringContainsString($words, Factory::$application->said[0]);
            $this->assertStringContainsString($says, Factory::$application->said[0]);
        }
    }

    public function testTheTablesStayUnlessTicked(): void
    {
        $script = require JOOMLA_PACKAGE . '/com_websockets/script.php';

        foreach (['{}' => 2, '{"delete_data":"0"}' => 2, 'broken' => 2, '{"delete_data":"1"}' => 0, '{"delete_data":1}' => 0] as $params => $left) {
            Factory::$database = (new Database('package_install'))->install()->run(self::EXTENSIONS)
                ->run("UPDATE #__extensions SET params = '$params' WHERE element = 'com_websockets'");
            $this->assertTrue($script->uninstall(new InstallerAdapter()));
            $this->assertCount($left, Factory::$database->rows("SHOW TABLES LIKE '%\\_websockets\\_%'"), $params);
        }
    }

    /** @return  array<string, mixed> */
    private function params(): array
    {
        $rows = Factory::$database->rows("SELECT params FROM #__extensions WHERE element = 'com_websockets'");

        return json_decode($rows[0]['params'], true);
    }
}
